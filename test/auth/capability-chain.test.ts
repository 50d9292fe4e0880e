import { proveChain, type ChainContext } from "../../src/auth/capability-chain.ts";
import { formatScope } from "../../src/auth/policy.ts";
import { decodeUcan, looksLikeUcan, ucanCid } from "../../src/ids/ucan.ts";
import { LIMITS } from "../../src/limits.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import {
  CLAIMS,
  HEADER,
  READ,
  alice,
  bob,
  grant,
  key,
  may,
  owner,
  server,
  signed,
  stranger,
} from "./ucan-keys.ts";

const NOW = Date.UTC(2026, 0, 1);
const S = NOW / 1000;
const revoked = new Set<string>();

const context: ChainContext = {
  audiences: new Set([server.did, "did:web:data.example.com"]),
  owner: (db) => (db === "notes" || db === "more" ? owner.did : undefined),
  isRevoked: (db, cid) => revoked.has(`${db} ${cid}`),
  now: NOW,
};

/** The scopes it gives, or why it gives none. */
function outcome(bearer: string, others: readonly string[] = [], over: Partial<ChainContext> = {}): string {
  try {
    return proveChain(bearer, others, { ...context, ...over })
      .scopes.map(formatScope)
      .join(" ");
  } catch (error) {
    const { code, details } = error as { code?: string; details?: { reason?: string } };
    if (code !== "CAPABILITY_INVALID") throw error;
    return `no: ${details?.reason ?? ""}`;
  }
}

/** From the owner to Alice, from her to Bob …: the last one is made out to this server. */
function chain(
  caps: readonly (typeof READ)[],
  more: readonly Partial<Parameters<typeof grant>[3]>[] = [],
): [bearer: string, others: string[]] {
  const names = [owner, ...caps.slice(1).map((_, i) => key(`k${i}`))];
  const texts: string[] = [];
  caps.forEach((cap, i) => {
    const before = texts.at(-1);
    texts.push(
      grant(names[i] as typeof owner, names[i + 1] ?? server, cap, {
        ...(before === undefined ? {} : { prf: [ucanCid(before)] }),
        ...more[i],
      }),
    );
  });
  return [texts.pop() as string, texts];
}

const notes = (prefix: string) => may("skald/doc.read", { prefix });

describe("a chain that holds", () => {
  test.each<[string, [string, string[]], string]>([
    ["of the owner alone", chain([READ]), "notes:doc.read"],
    ["to one other", chain([READ, READ]), "notes:doc.read"],
    ["to eight", chain(Array.from({ length: 8 }, () => READ)), "notes:doc.read"],
    ["of every action, narrowed to one", chain([may("skald/*"), READ]), "notes:doc.read"],
    ["of the top ability", chain([may("*"), may("skald/*")]), "notes:*"],
    ["in capitals, which mean the same", chain([may("SKALD/Doc.Read")]), "notes:doc.read"],
    ["of prefixes that grow longer", chain([notes("a"), notes("a/"), notes("a/b-")]), "notes:doc.read:a/b-"],
    [
      "of several prefixes, of which it keeps some",
      chain([may("skald/doc.read", { prefix: "a/" }, { prefix: "b/" }), notes("b/x")]),
      "notes:doc.read:b/x",
    ],
    [
      "of two dbs of one owner",
      chain([{ ...READ, "skald:more": { "skald/doc.write": [{}] } }]),
      "notes:doc.read more:doc.write",
    ],
    [
      "that also speaks of what is not Skald's",
      chain([{ ...READ, "mailto:a@example.org": { "msg/send": [{ max: 5 }] } }]),
      "notes:doc.read",
    ],
    [
      "with bounds of time, each within the one before",
      chain(
        [READ, READ],
        [
          { nbf: S - 9, exp: S + 9 },
          { nbf: S, exp: S + 1 },
        ],
      ),
      "notes:doc.read",
    ],
    ["until an hour", chain([READ], [{ exp: S + 3600 }]), "notes:doc.read"],
    [
      "made out to another name of the server",
      [grant(owner, { did: "did:web:data.example.com" }), []],
      "notes:doc.read",
    ],
    [
      "with an empty list of caveats, which is nothing",
      [grant(owner, server, { "skald:notes": { "*": [], "skald/sync": [{}] } }), []],
      "notes:sync",
    ],
  ])("%s gives what it says", (_, [bearer, others], scopes) => {
    expect(outcome(bearer, others)).toBe(scopes);
  });

  test("may carry its proofs in itself", () => {
    const first = grant(owner, alice);
    const second = grant(alice, bob, READ, { prf: [first] });
    expect(outcome(grant(bob, server, READ, { prf: [second] }))).toBe("notes:doc.read");
  });

  test("needs one proof that holds, and not all of them", () => {
    const good = grant(owner, alice);
    const other = grant(stranger, alice);
    const late = grant(owner, alice, READ, { exp: S - 1 });
    const prf = [ucanCid(late), ucanCid(other), ucanCid("missing"), ucanCid(good)];
    expect(outcome(grant(alice, server, READ, { prf }), [good, other, late])).toBe("notes:doc.read");
  });

  test("is put together of what different proofs give", () => {
    const read = grant(owner, alice);
    const write = grant(owner, alice, may("skald/doc.write", { prefix: "a/" }));
    const both = { "skald:notes": { "skald/doc.read": [{}], "skald/doc.write": [{ prefix: "a/b" }] } };
    const prf = [ucanCid(read), ucanCid(write)];
    expect(outcome(grant(alice, server, both, { prf }), [read, write])).toBe(
      "notes:doc.read notes:doc.write:a/b",
    );
  });
});

const last = (more: object): string => signed(HEADER, { ...CLAIMS, iss: owner.did, ...more }, owner);
const good = grant(owner, server);
const [head = "", payload = "", signature = ""] = good.split(".");
const b64 = (value: string): string => Buffer.from(value).toString("base64url");
/** The other character that stands for the same bytes at the end of a part of 64 bytes. */
const otherEnd = (text: string): string => {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return text.slice(0, -1) + (digits[digits.indexOf(text.at(-1) as string) ^ 1] as string);
};

describe("refused is a capability", () => {
  test.each<[string, string | [string, string[]], string]>([
    // forged
    [
      "with another's signature",
      `${head}.${payload}.${grant(alice, server).split(".")[2] as string}`,
      "signature",
    ],
    [
      "whose claims were changed",
      `${head}.${b64(JSON.stringify({ ...CLAIMS, iss: owner.did, cap: may("*") }))}.${signature}`,
      "signature",
    ],
    [
      "that a stranger signed in the owner's name",
      signed(HEADER, { ...CLAIMS, iss: owner.did }, stranger),
      "signature",
    ],
    ["without an algorithm", `${b64('{"alg":"none","typ":"JWT"}')}.${payload}.${signature}`, "algorithm"],
    [
      "of an algorithm with a shared key",
      signed({ alg: "HS256", typ: "JWT" }, { ...CLAIMS, iss: owner.did }, owner),
      "algorithm",
    ],
    [
      "of another type",
      signed({ alg: "EdDSA", typ: "JWE" }, { ...CLAIMS, iss: owner.did }, owner),
      "algorithm",
    ],
    ["with other spare bits in its signature", `${head}.${payload}.${otherEnd(signature)}`, "malformed"],
    [
      "with a forged link in the middle",
      (() => {
        const first = grant(owner, alice);
        const forged = signed(
          HEADER,
          { ...CLAIMS, iss: alice.did, aud: bob.did, prf: [ucanCid(first)] },
          stranger,
        );
        return [grant(bob, server, READ, { prf: [ucanCid(forged)] }), [first, forged]];
      })(),
      "signature",
    ],
    // truncated, huge, deep
    ["of two parts", `${head}.${payload}`, "malformed"],
    ["with an empty signature", `${head}.${payload}.`, "malformed"],
    ["with a part of the signature", `${head}.${payload}.${signature.slice(0, 80)}`, "malformed"],
    ["with a cut payload", `${head}.${payload.slice(0, -4)}.${signature}`, "malformed"],
    ["with padding", `${head}.${payload}=.${signature}`, "malformed"],
    ["that is huge", last({ fct: { x: "x".repeat(LIMITS.capability.characters.value) } }), "malformed"],
    [
      "with a huge header",
      signed({ ...HEADER, x: "x".repeat(600) }, { ...CLAIMS, iss: owner.did }, owner),
      "malformed",
    ],
    ["of nine links", chain(Array.from({ length: 9 }, () => READ)), "depth"],
    ["with a crowd of tokens", [good, Array.from({ length: 16 }, () => good)], "size"],
    ["with a crowd of proofs", last({ prf: Array.from({ length: 9 }, () => ucanCid(good)) }), "size"],
    [
      "with a crowd of capabilities",
      last({ cap: may("*", ...Array.from({ length: 65 }, () => ({}))) }),
      "size",
    ],
    [
      "that nests JSON deeply",
      last({ cap: JSON.parse(`${"[".repeat(900)}${"]".repeat(900)}`) as unknown }),
      "malformed",
    ],
    // whose
    ["that its holder issued to himself", grant(stranger, server), "chain"],
    [
      "that its holder proves by himself",
      [
        grant(stranger, server, READ, { prf: [ucanCid(grant(stranger, stranger))] }),
        [grant(stranger, stranger)],
      ],
      "chain",
    ],
    [
      "whose proof was made out to somebody else",
      [grant(bob, server, READ, { prf: [ucanCid(grant(owner, alice))] }), [grant(owner, alice)]],
      "chain",
    ],
    [
      "whose proof did not come with it",
      grant(alice, server, READ, { prf: [ucanCid(grant(owner, alice))] }),
      "chain",
    ],
    ["whose proof is not named", [grant(alice, server), [grant(owner, alice)]], "chain"],
    ["made out to another server", grant(owner, stranger), "audience"],
    ["made out to the next in a chain, and shown here", grant(owner, alice), "audience"],
    // of what
    ["of a db that belongs to nobody", grant(owner, server, { "skald:other": { "*": [{}] } }), "chain"],
    [
      "of another db than its proof",
      [
        grant(
          alice,
          server,
          { "skald:more": { "skald/doc.read": [{}] } },
          { prf: [ucanCid(grant(owner, alice))] },
        ),
        [grant(owner, alice)],
      ],
      "wider",
    ],
    ["of every db", grant(owner, server, { "skald:*": { "*": [{}] } }), "scope"],
    ["of a db that cannot be one", grant(owner, server, { "skald:a b": { "*": [{}] } }), "scope"],
    ["of nothing of Skald's", grant(owner, server, { "https://example.org": { "*": [{}] } }), "scope"],
    ["of nothing", grant(owner, server, {}), "scope"],
    ["of an action that is none", grant(owner, server, may("skald/doc.fly")), "scope"],
    ["of an action of the server", grant(owner, server, may("skald/admin.token")), "scope"],
    ["of an ability of others", grant(owner, server, may("crud/read")), "scope"],
    [
      "with a caveat that is not known",
      grant(owner, server, may("skald/doc.read", { prefix: "a", on: "Monday" })),
      "scope",
    ],
    ["with a prefix that is none", grant(owner, server, may("skald/doc.read", { prefix: 5 })), "scope"],
    ["with an empty prefix", grant(owner, server, may("skald/doc.read", { prefix: "" })), "scope"],
    // wider
    ["that gives another action than its proof", chain([READ, may("skald/doc.write")]), "wider"],
    ["that gives every action", chain([READ, may("skald/*")]), "wider"],
    ["that drops the prefix", chain([notes("a/"), READ]), "wider"],
    ["that shortens the prefix", chain([notes("a/"), notes("a")]), "wider"],
    ["that has another prefix", chain([notes("a/"), notes("b/")]), "wider"],
    [
      "that adds a capability",
      chain([notes("a/"), may("skald/doc.read", { prefix: "a/" }, { prefix: "c/" })]),
      "wider",
    ],
    ["that grows wider in the middle", chain([notes("a/"), READ, notes("a/")]), "wider"],
    // time
    ["that has run out", chain([READ], [{ exp: S }]), "expired"],
    ["that does not hold yet", chain([READ], [{ nbf: S + 1 }]), "not_yet"],
    ["that outlasts its proof", chain([READ, READ], [{ exp: S + 9 }, { exp: S + 10 }]), "times"],
    ["that never ends, and its proof does", chain([READ, READ], [{ exp: S + 9 }]), "times"],
    ["that begins before its proof", chain([READ, READ], [{ nbf: S - 1 }, { nbf: S - 2 }]), "times"],
    ["whose proof has run out", chain([READ, READ], [{ exp: S - 1 }, { exp: S + 9 }]), "times"],
    // malformed
    ["without an end", last({ exp: undefined }), "malformed"],
    ["with an end that is text", last({ exp: "tomorrow" }), "malformed"],
    ["with a negative beginning", last({ nbf: -1 }), "malformed"],
    ["of another version", last({ ucv: "0.9.1" }), "version"],
    ["of a later version", last({ ucv: "1.0.0" }), "version"],
    ["of an issuer that is no key", last({ iss: "did:web:example.org" }), "malformed"],
    ["made out to no did", last({ aud: "somebody" }), "malformed"],
    ["made out to several", last({ aud: [server.did] }), "malformed"],
    ["without capabilities", last({ cap: undefined }), "malformed"],
    ["with capabilities that are a list", last({ cap: [] }), "malformed"],
    ["with caveats that are no list", last({ cap: { "skald:notes": { "*": {} } } }), "malformed"],
    ["with a caveat that is null", last({ cap: { "skald:notes": { "*": [null] } } }), "malformed"],
    ["with proofs that are no texts", last({ prf: [5] }), "malformed"],
    ["of a payload that is a list", signed(HEADER, [], owner), "malformed"],
    [
      "of a payload that is no UTF-8",
      `${head}.${Buffer.from([0x22, 0xff, 0x22]).toString("base64url")}.${signature}`,
      "malformed",
    ],
  ])("%s", (_, shown, reason) => {
    const [bearer, others] = typeof shown === "string" ? [shown, []] : shown;
    expect(outcome(bearer, others)).toBe(`no: ${reason}`);
  });

  test("of which one link was revoked, whichever it is, and for the db that it was revoked for", () => {
    const [bearer, others] = chain([READ, READ, READ]);
    for (const text of [bearer, ...others]) {
      revoked.add(`more ${ucanCid(text)}`);
      expect(outcome(bearer, others)).toBe("notes:doc.read");
      revoked.add(`notes ${ucanCid(text)}`);
      expect(outcome(bearer, others)).toBe("no: revoked");
      revoked.clear();
    }
  });

  test("after its db got another owner", () => {
    expect(outcome(good, [], { owner: () => stranger.did })).toBe("no: chain");
  });
});

test("a revoked proof ends what it alone gives, and not what another gives too", () => {
  const first = grant(owner, alice, READ, { nnc: "1" });
  const second = grant(owner, alice, READ, { nnc: "2" });
  const bearer = grant(alice, server, READ, { prf: [ucanCid(first), ucanCid(second)] });
  revoked.add(`notes ${ucanCid(first)}`);
  expect(outcome(bearer, [first, second])).toBe("notes:doc.read");
  expect(outcome(bearer, [first])).toBe("no: revoked");
  revoked.clear();
});

test("proofs that prove each other many times over are looked at once each", () => {
  // Eight layers of two: 256 ways from the last to the owner.
  let layer = [grant(owner, key("l0"), READ, { nnc: "a" }), grant(owner, key("l0"), READ, { nnc: "b" })];
  const all = [...layer];
  for (let i = 0; i < 6; i += 1) {
    const prf = layer.map(ucanCid);
    layer = ["a", "b"].map((nnc) => grant(key(`l${i}`), key(`l${i + 1}`), READ, { nnc, prf }));
    all.push(...layer);
  }
  const bearer = grant(key("l6"), server, READ, { prf: layer.map(ucanCid) });
  expect(all.length).toBeLessThan(LIMITS.capability.tokens.value);
  expect(outcome(bearer, all)).toBe("notes:doc.read");
});

test("what is changed in any place gives nothing", () => {
  const random = seeded(seedOf());
  const [bearer, others] = chain([may("skald/*"), notes("a/")], [{ exp: S + 99 }, { exp: S + 9 }]);
  expect(outcome(bearer, others)).toBe("notes:doc.read:a/");
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const runs = Number(process.env["SKALD_TEST_RUNS"] ?? 300);
  for (let run = 0; run < runs; run += 1) {
    const texts = [bearer, ...others];
    const which = Math.floor(random() * texts.length);
    const text = texts[which] as string;
    const at = Math.floor(random() * text.length);
    const digit = digits[Math.floor(random() * 64)] as string;
    if (digit === text[at] || text[at] === ".") continue;
    texts[which] = text.slice(0, at) + digit + text.slice(at + 1);
    expect([at, outcome(texts[0] as string, texts.slice(1))]).toEqual([at, expect.stringMatching(/^no: /)]);
  }
});

test("its address is the canonical one of the specification", () => {
  expect(decodeUcan(good).cid).toBe(ucanCid(good));
  // The empty text: raw, SHA-256, as any tool gives it.
  expect(ucanCid("")).toBe("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku");
});

test.each<[string, boolean]>([
  [good, true],
  [last({ ucv: "0.9.1" }), true],
  [signed(HEADER, { iss: "https://accounts.example.org", sub: "1" }, owner), false],
  [`skald_${"A".repeat(43)}`, false],
  ["ey", false],
  ["", false],
])("%.40s is of the kind: %s", (text, is) => {
  expect(looksLikeUcan(text)).toBe(is);
});
