import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { Capabilities } from "../../dist/auth/capabilities.js";
import { tokenProvider } from "../../dist/auth/credential-provider.js";
import { allows } from "../../dist/auth/policy.js";
import { People } from "../../dist/auth/people.js";
import { Sessions } from "../../dist/auth/sessions.js";
import { Tokens } from "../../dist/auth/tokens.js";
import { Vigil } from "../../dist/auth/vigil.js";
import { identify } from "../../dist/http/identify.js";
import { Lease } from "../../dist/http/lease.js";
import { Rates } from "../../dist/http/rates.js";
import { signerOf } from "../../dist/ids/ed25519.js";
import { encodeUcan, ucanCid } from "../../dist/ids/ucan.js";
import { realWorld } from "../../dist/world.js";
import { median, row } from "./figures.mjs";
import { quiet, startSkald } from "./processes.mjs";
import { Wire, httpRequest, runConnections } from "./wire.mjs";

const CONNECTIONS = 32;

/**
 * Who a request is from, whether it may do what it asks, and the watch over it for as long as it runs, by processor
 * time, beside that of a server which answers a read of one document: what is judged is the part of the one in the
 * other. Many credentials take turns, as they do on a server, so that none is always at hand. The counting of requests by the minute is part of it.
 */
export async function run({ dir, quick, profile }) {
  const folder = path.join(dir, "authorise");
  mkdirSync(folder, { recursive: true });
  const read = await pointRead({ dir: path.join(folder, "skald"), quick, profile });
  if (read === undefined)
    return [{ work: "authorise", note: "the server's processor time is not known here" }];
  const file = path.join(folder, "service.sqlite");
  const tokens = new Tokens(file);
  const capabilities = new Capabilities(file, { secret: () => tokens.secret("did") });
  const people = new People(file, { adminClaim: true });
  const sessions = new Sessions(file, { idleMs: 3_600_000, lifeMs: 86_400_000 });
  try {
    const rounds = quick ? 3 : 7;
    const each = quick ? 100_000 : 300_000;
    const kinds = {
      "a known token": knownTokens(tokens, 100),
      "a known UCAN of two links": chains(capabilities, 100),
      "a person's session": knownSessions(people, sessions, 100),
    };
    const services = { providers: [tokenProvider(tokens), capabilities], people, sessions, tokens };
    const vigil = new Vigil(realWorld);
    const note = `${rounds} rounds of ${each}, 100 of a kind; a read of one document over HTTP`;
    const rows = Object.entries(kinds).map(([work, requests]) => {
      const costs = [];
      for (let round = 0; round <= rounds; round += 1) {
        const us = costOf(each, (i) => authorise(requests[i % requests.length], services, vigil));
        // The first is the warm-up.
        if (round > 0) costs.push(us);
      }
      return row({
        work: `authorising ${work}`,
        ours: median(costs),
        theirs: read,
        against: "a point read",
        reach: "≤ 0.05",
        unit: "µs",
        note,
      });
    });
    const fresh = chains(capabilities, quick ? 200 : 1000);
    const first = costOf(fresh.length, (i) => authorise(fresh[i], services, vigil));
    rows.push(
      row({
        work: "authorising a UCAN of two links that was not seen before",
        ours: first,
        theirs: read,
        against: "a point read",
        unit: "µs",
        note: `${fresh.length} of them, two signatures each`,
      }),
    );
    return rows;
  } finally {
    sessions.end();
    people.close();
    capabilities.close();
    tokens.close();
  }
}

const ROUTE = { method: "GET", path: "/db/:db/docs/:collection/:key" };
const NO_MORE_THAN = 1e12;
const rates = new Rates({
  rateTotal: NO_MORE_THAN,
  rateToken: NO_MORE_THAN,
  rateAddress: NO_MORE_THAN,
  rateRefused: NO_MORE_THAN,
  rateSignIn: NO_MORE_THAN,
});
const RES = { once: () => {}, headersSent: false };

function authorise(req, services, vigil) {
  const now = realWorld.monotonic();
  rates.enter("192.0.2.1", ROUTE.path, now);
  const identity = identify(req, { services, ambient: undefined }, undefined);
  if (!allows(identity.principal, "doc.read", "notes", "a/1")) throw new Error("it is not allowed");
  const lease = new Lease(ROUTE, "", req, RES, realWorld);
  lease.begin(identity, vigil);
  rates.know(identity.principal.id, now);
  rates.headers(identity.principal.id, "192.0.2.1", ROUTE.path, now);
  lease.over();
}

/** Microseconds of processor time each. */
function costOf(count, work) {
  const before = process.cpuUsage();
  for (let i = 0; i < count; i += 1) work(i);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

/** A new string for each request, as a parser makes them: one that was hashed before would be found for less. */
function request(authorization, more = {}) {
  const bytes = Buffer.from(authorization, "latin1");
  return {
    method: "GET",
    get headers() {
      return { authorization: bytes.toString("latin1"), ...more };
    },
  };
}

function knownTokens(tokens, count) {
  const scopes = [{ db: "notes", action: "doc.read" }];
  return Array.from({ length: count }, (_, i) =>
    request(`Bearer ${tokens.create({ label: `t${i}`, scopes }).token}`),
  );
}

function knownSessions(people, sessions, count) {
  return Array.from({ length: count }, (_, i) => {
    const { id } = people.seen({ issuer: "https://id.example", sub: `s${i}`, claims: {}, admin: true });
    const { cookie } = sessions.open({ person: id }, { address: "192.0.2.1", agent: "bench" });
    const bytes = Buffer.from(`skald=${cookie}`, "latin1");
    return {
      method: "GET",
      get headers() {
        return { cookie: bytes.toString("latin1"), host: "127.0.0.1:7600", "sec-fetch-site": "same-origin" };
      },
    };
  });
}

const key = (name) => signerOf(createHash("sha256").update(name).digest());
let made = 0;

function chains(capabilities, count) {
  const [owner, alice] = [key("owner"), key("alice")];
  capabilities.setOwner("notes", owner.did, "tok_x");
  const cap = { "skald:notes": { "skald/doc.read": [{}] } };
  return Array.from({ length: count }, () => {
    made += 1;
    const first = encodeUcan({ aud: alice.did, exp: null, cap, nnc: `f${made}` }, owner);
    const claims = { aud: capabilities.did, exp: null, cap, nnc: `l${made}`, prf: [ucanCid(first)] };
    return request(`Bearer ${encodeUcan(claims, alice)}`, { ucans: first });
  });
}

/** Microseconds of the server's processor time for one read; undefined where that cannot be told. */
async function pointRead({ dir, quick, profile }) {
  const skald = await startSkald({ dir, profile, flags: ["--scrub-days", "0"] });
  const wires = [];
  try {
    await skald.fetch("/db/notes", { method: "PUT" });
    for (let i = 0; i < 100; i += 1)
      await skald.fetch(`/db/notes/docs/a/${i}`, {
        method: "PUT",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ title: `note ${i}`, done: false, tags: ["a", "b"] }),
      });
    await quiet(skald);
    for (let i = 0; i < CONNECTIONS; i += 1) wires.push(await Wire.open(skald.port));
    const costs = [];
    const rounds = quick ? 3 : 6;
    for (let round = 0; round <= rounds; round += 1) {
      const lists = wires.map((_, w) =>
        Array.from({ length: quick ? 60 : 200 }, (__, i) =>
          httpRequest({
            method: "GET",
            path: `/api/v1/db/notes/docs/a/${(w * 7 + i) % 100}`,
            token: skald.token,
          }),
        ),
      );
      const { cpuUs } = await runConnections(wires, lists, () => skald.cpuMs());
      if (round > 0 && cpuUs !== undefined) costs.push(cpuUs);
    }
    return costs.length === 0 ? undefined : median(costs);
  } finally {
    for (const wire of wires) wire.close();
    await skald.stop();
  }
}
