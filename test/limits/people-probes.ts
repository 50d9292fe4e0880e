import path from "node:path";
import { People } from "../../src/auth/people.ts";
import { DbTable } from "../../src/store/sqlite-registry.ts";
import { tempDir } from "../support/temp-dir.ts";
import { outcomeIn, outcomeOf, type ProbeSpec } from "./probe.ts";
import { DB, ask } from "./server.ts";

const x = (count: number): string => "x".repeat(count);
const dir = tempDir();
const table = new DbTable(dir);
table.put({ dbId: "full", folder: "full", created: 1, state: "ready" });
const people = new People(path.join(dir, "service.sqlite"));
afterAll(() => {
  people.close();
  table.close();
});

let subs = 0;
const seen = (claims: Record<string, unknown>) =>
  people.seen({ issuer: "https://id.example.org", sub: `probe-${(subs += 1)}`, claims });

export const personProbes: Readonly<Record<string, ProbeSpec>> = {
  nameCharacters: {
    cheap: true,
    run: (n) => (seen({ name: "🎉".repeat(n) }).name === "🎉".repeat(n) ? "ok" : "shorter"),
  },
  emailCharacters: {
    cheap: true,
    run: (n) =>
      seen({ email: `${x(n - 6)}@x.org`, email_verified: true }).email === null ? "ignored" : "ok",
  },
  providerCharacters: {
    cheap: true,
    run: async (n) => {
      const first = await outcomeOf(() => people.seen({ issuer: "i", sub: x(n), claims: {} }));
      const second = await outcomeOf(() => people.seen({ issuer: x(n), sub: "s", claims: {} }));
      return first === second ? first : `${first} and ${second}`;
    },
  },
};

const invite = async (more: object) => {
  const reply = await ask("POST", `${DB}/invitations`, { body: { role: "viewer", ...more } });
  // There is room for all that are tried.
  if (reply.status === 201) await ask("DELETE", `${DB}/invitations/${reply.json["id"] as string}`);
  return outcomeIn(reply);
};

export const invitationProbes: Readonly<Record<string, ProbeSpec>> = {
  noteCharacters: { cheap: true, run: (n) => invite({ note: x(n) }) },
  expiresSeconds: { cheap: true, run: (n) => invite({ expires_in: n }) },
  uses: { cheap: true, run: (n) => invite({ uses: n }) },
  perDb: {
    cheap: true,
    run: async (n) => {
      const { invitations } = people;
      for (const { id } of invitations.list("full")) invitations.revoke("full", id);
      for (let i = 1; i < n; i += 1) invitations.create("full", "local", { role: "viewer" });
      return outcomeOf(() => invitations.create("full", "local", { role: "viewer" }));
    },
  },
};
