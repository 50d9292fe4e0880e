import { proveChain, type Proven } from "../../src/auth/capability-chain.ts";
import { bearerToken } from "../../src/auth/bearer.ts";
import { formatScope, parseScope, type Scope } from "../../src/auth/policy.ts";
import { nameRecord, type NamedRecord } from "../../src/cli/import-record.ts";
import { splitJsonArray } from "../../src/cli/json-array-splitter.ts";
import { splitLines } from "../../src/cli/line-splitter.ts";
import { parseTime } from "../../src/db/point.ts";
import { applyJsonPatch, applyMergePatch } from "../../src/documents/json-patch.ts";
import {
  depthOf,
  parseIndex,
  parseJson,
  parsePointer,
  sameJson,
  stringifyJson,
  toPointer,
  valueAt,
  type Json,
} from "../../src/documents/json-value.ts";
import { SkaldError, isSkaldError } from "../../src/errors.ts";
import { readQuery } from "../../src/http/body.ts";
import { notModified } from "../../src/http/etag.ts";
import {
  CapabilityOwnerRequest,
  RevocationRequest,
  RotateRequest,
  TokenRequest,
} from "../../src/protocol/token-wire.ts";
import { itemTexts, memberTexts } from "../../src/protocol/json-source.ts";
import { InvitationRequest, RoleRequest } from "../../src/protocol/people-wire.ts";
import { nameCursor, nameOfCursor } from "../../src/http/point.ts";
import { LIMITS } from "../../src/limits.ts";
import { MOUNTS } from "../../src/http/server.ts";
import { cidFromString, cidOf, cidToString, isCid, looksLikeCid } from "../../src/ids/cid.ts";
import {
  decodeCheckpoint,
  encodeCheckpoint,
  signedCheckpoint,
  type Checkpoint,
} from "../../src/ids/checkpoint.ts";
import { didKeyOf, parseDidKey } from "../../src/ids/did-key.ts";
import { signerOf } from "../../src/ids/ed25519.ts";
import { decodeUcan, looksLikeUcan, ucanCid, type Ucan } from "../../src/ids/ucan.ts";
import { CLAIMS, HEADER, READ, alice, grant, may, owner, server, signed } from "../auth/ucan-keys.ts";
import { decodeCursor, encodeCursor, type Cursor } from "../../src/ids/cursor.ts";
import { fromBase58Check, toBase58Check } from "../../src/ids/document-id.ts";
import {
  checkBranchName,
  checkStatementName,
  checkCollection,
  checkDbId,
  checkKey,
  checkTxId,
  dbFolder,
  parseDocName,
  type DocName,
} from "../../src/ids/names.ts";
import {
  BackupRequest,
  BranchRequest,
  MergeRequest,
  RestoreRequest,
  SnapshotRequest,
  SnapshotRestoreRequest,
  SyncCompareRequest,
  EraseRequest,
  ErasureRequest,
  RetentionRequest,
  SyncPullRequest,
  TicketRequest,
  TxRequest,
} from "../../src/protocol/wire.ts";
import { SqlBatch, SqlRequest } from "../../src/protocol/query-wire.ts";
import { WatchRequest } from "../../src/protocol/watch-wire.ts";
import type { Random, Target } from "./harness.ts";
import { spoilt, spoiltText } from "./mutate.ts";

/** Everything that comes as text: ids, names, points, queries, headers, JSON, files to import. */

const MAX_DEPTH = LIMITS.document.levels.value;
const uid = Uint8Array.from({ length: 16 }, (_, i) => i * 9);

/** A target whose inputs are good texts, spoilt. */
function texts<T>(
  name: string,
  runs: number,
  good: readonly string[],
  rest: Pick<Target, "covers" | "codes"> & {
    run(text: string): T;
    holds?(text: string, result: T): string | undefined;
    kept?: readonly string[];
  },
): Target {
  return {
    ...rest,
    name,
    runs,
    make: (random: Random) =>
      random.chance(0.02) ? random.pick(good) : spoiltText(random.pick(good), random, good),
    run: (input) => rest.run(input as string),
  } as Target;
}

const cids = [0x55, 0x71].flatMap((codec) =>
  [1, 2, 3].map((n) => cidToString(cidOf(codec as 0x55, new Uint8Array(n)))),
);
const cursors = [0, 1, 99, 2 ** 40].map((seq) => encodeCursor(uid, { epoch: 1, seq }));
const lists = ["docs 12 notes/a", "docs 0 é/ü", "dbs a"].map((text) =>
  Buffer.from(text).toString("base64url"),
);

const signer = signerOf(new Uint8Array(32).fill(5));
const checkpoints = [signer, undefined].flatMap((by) =>
  [0, 7, 2 ** 40].map((seq) => {
    const at = seq === 0 ? {} : { commit: cidFromString(cids[3] as string), time: seq };
    const of = { uid, branch: "main", seq, commit: undefined, time: undefined, ...at };
    return encodeCheckpoint(signedCheckpoint(of, by));
  }),
);

const ids: readonly Target[] = [
  texts("address", 50_000, cids, {
    covers: ["ids/cid.ts cidFromString"],
    codes: ["CID_INVALID"],
    run: cidFromString,
    holds: (text, cid: Uint8Array) => (cidToString(cid) === text && isCid(cid) ? undefined : "has two texts"),
    // Came out as a SyntaxError: bits behind the last byte.
    kept: cids.flatMap((cid) =>
      "abcdefghijklmnopqrstuvwxyz234567".split("").map((last) => cid.slice(0, -1) + last),
    ),
  }),
  texts("cursor", 40_000, cursors, {
    covers: ["ids/cursor.ts decodeCursor"],
    codes: ["CURSOR_INVALID"],
    run: (text) => decodeCursor(uid, text),
    holds: (text, cursor: Cursor) => (encodeCursor(uid, cursor) === text ? undefined : "has two texts"),
    // Numbers with leading zeros were taken for the same place.
    kept: ["01.5", "1.05", "1.00"].map((place) =>
      Buffer.from(`${Buffer.from(uid.subarray(0, 8)).toString("hex")}.${place}`).toString("base64url"),
    ),
  }),
  texts("checkpoint", 12_000, checkpoints, {
    covers: ["ids/checkpoint.ts decodeCheckpoint"],
    codes: ["CHECKPOINT_INVALID"],
    run: decodeCheckpoint,
    holds: (text, checkpoint: Checkpoint) => {
      if (encodeCheckpoint(checkpoint) !== text) return "has two texts";
      // Whatever is made of a signed one, only these two were ever signed.
      return checkpoint.signed && !checkpoints.includes(text) ? "is signed by nobody" : undefined;
    },
    kept: [
      "",
      "\n\n\n\n\n",
      "x".repeat(1_000_000),
      `${checkpoints[0]}\n`,
      checkpoints[0]?.replace("\n\n", "\n\r\n") ?? "",
    ],
  }),
  texts("did:key", 12_000, [signer.did, signerOf(new Uint8Array(32).fill(6)).did], {
    covers: ["ids/did-key.ts parseDidKey"],
    codes: [],
    run: parseDidKey,
    holds: (text, key: Uint8Array | undefined) =>
      key === undefined || didKeyOf(key) === text ? undefined : "has two texts",
    kept: [`did:key:z6Mk${"z".repeat(44)}`, `did:key:z6Mk${"1".repeat(1_000_000)}`],
  }),
  texts("cursor of a list", 15_000, lists, {
    covers: [],
    codes: ["CURSOR_INVALID"],
    run: (text) => nameOfCursor("docs", text),
    holds: (text, name: string) => (nameCursor("docs", name) === text ? undefined : "has two texts"),
  }),
  texts("Automerge document id", 5_000, [new Uint8Array(16), uid, uid.subarray(0, 3)].map(toBase58Check), {
    covers: ["ids/document-id.ts fromBase58Check"],
    codes: ["NAME_INVALID"],
    run: fromBase58Check,
    holds: (text, bytes: Uint8Array) => (toBase58Check(bytes) === text ? undefined : "has two texts"),
    // Base58 takes time with the square of its length.
    kept: ["z".repeat(100_000), "1".repeat(1_000_000)],
  }),
  texts("db id", 20_000, ["a", "notes", "A.b-c_9", "x".repeat(128)], {
    covers: ["ids/names.ts checkDbId"],
    codes: ["NAME_INVALID"],
    run: dbFolder,
    holds: (id, folder: string) =>
      checkDbId(id) === id && /^(?!\.)[a-z0-9._=-]+$/.test(folder) ? undefined : `lies in ${folder}`,
  }),
  texts("branch name", 10_000, ["main", "draft", "A.b-c_9", "x".repeat(128)], {
    covers: ["ids/names.ts checkBranchName"],
    codes: ["NAME_INVALID"],
    run: checkBranchName,
    holds: (name, branch: string) => (branch === name ? undefined : `is taken for ${branch}`),
  }),
  texts("name of a stored statement", 5_000, ["all", "by_year", "A-9", "x".repeat(128)], {
    covers: ["ids/names.ts checkStatementName"],
    codes: ["NAME_INVALID"],
    run: checkStatementName,
    holds: (name, read: string) => (read === name ? undefined : `is taken for ${read}`),
  }),
  texts("document name", 50_000, ["notes/a", "c/é/ü", "_x.y/😀", `k/${"y".repeat(511)}`, "a/b//c"], {
    covers: ["ids/names.ts parseDocName", "ids/names.ts checkCollection", "ids/names.ts checkKey"],
    codes: ["NAME_INVALID"],
    run: parseDocName,
    holds: (doc, { collection, key }: DocName) =>
      `${checkCollection(collection)}/${checkKey(key)}` === doc
        ? undefined
        : "is put together in another way",
  }),
  texts("client_tx_id", 10_000, ["a", "0192f-77", "~!\"#'"], {
    covers: ["ids/names.ts checkTxId"],
    codes: ["NAME_INVALID"],
    run: checkTxId,
  }),
  texts(
    "time",
    20_000,
    ["2026-01-31T10:20:30Z", "2026-02-28t23:59:59.123456+01:30", "1970-01-01T00:00:00-00:00"],
    {
      covers: [],
      codes: [],
      run: parseTime,
      holds: (_, time: number | undefined) =>
        time === undefined || parseTime(new Date(time).toISOString()) === time
          ? undefined
          : "is read as another time",
    },
  ),
  texts("scope", 15_000, ["*:*", "notes:doc.read", "notes:doc.write:c/x", "*:admin.token"], {
    covers: [],
    codes: ["SCOPE_INVALID"],
    run: parseScope,
    holds: (text, scope: Scope) => (formatScope(scope) === text ? undefined : "has two texts"),
  }),
  texts("header", 15_000, ["Bearer abc.def-1==", `"${"ab".repeat(32)}", W/"x"`, "*", '"a;automerge"'], {
    covers: [],
    codes: [],
    run: (text) => [bearerToken(text), notModified(text, '"x"')],
    kept: [
      '"'.repeat(16_000),
      `Bearer ${"a".repeat(16_000)} `,
      "W/".repeat(8000),
      `bearer${" ".repeat(16_000)}`,
    ],
  }),
];

/** What a UCAN says of itself, and the proof that it came with. */
const PROOF = grant(owner, alice, may("skald/*", { prefix: "a/" }));
const CLAIM = JSON.stringify({
  ...CLAIMS,
  cap: may("skald/doc.read", { prefix: "a/b" }),
  exp: 99,
  nbf: 1,
  nnc: "x",
  fct: { a: [1] },
  prf: [ucanCid(PROOF)],
});
const AT = {
  audiences: new Set([server.did]),
  owner: (db: string) => (db === "notes" ? owner.did : undefined),
  isRevoked: () => false,
  now: 5000,
};

/** What it proves; undefined when that is refused as it should be. */
function provenBy(bearer: string, others: readonly string[]): Proven | undefined {
  try {
    return proveChain(bearer, others, AT);
  } catch (error) {
    if (isSkaldError(error) && error.code === "CAPABILITY_INVALID") return undefined;
    throw error;
  }
}

const capabilities: readonly Target[] = [
  texts("UCAN", 10_000, [PROOF, grant(owner, server), grant(alice, server, READ, { prf: [PROOF] })], {
    covers: ["ids/ucan.ts decodeUcan"],
    codes: ["CAPABILITY_INVALID"],
    run: (text) => {
      const known = looksLikeUcan(text);
      provenBy(text, [text]);
      return [known, decodeUcan(text)] as const;
    },
    holds: (text, [known, { cid, exp, nbf, cap }]: readonly [boolean, Ucan]) =>
      known && cid === ucanCid(text) && exp >= 0 && nbf >= 0 && cap.length <= LIMITS.capability.uses.value
        ? undefined
        : "is taken for what it is not",
    kept: [
      ".".repeat(20_000),
      `ey${"A".repeat(9000)}`,
      `${"e".repeat(600)}.${"A".repeat(7000)}.${"B".repeat(86)}`,
    ],
  }),
  // The same with a signature that holds: what its holder can have written in it.
  texts("claims of a UCAN", 2_000, [CLAIM, CLAIM.replace(`"aud"`, `"\\u0061ud"`)], {
    covers: ["ids/ucan.ts decodeUcan"],
    codes: ["CAPABILITY_INVALID"],
    run: (text) => {
      const bearer = signed(HEADER, text, alice);
      return [decodeUcan(bearer), provenBy(bearer, [PROOF])] as const;
    },
    holds: (_, [{ iss, aud }, proven]: readonly [Ucan, Proven | undefined]) =>
      proven === undefined ||
      (iss === alice.did &&
        aud === server.did &&
        proven.scopes.every(({ db, prefix }) => db === "notes" && prefix?.startsWith("a/") === true))
        ? undefined
        : "proves more than its proof",
  }),
];

const JSONS = [
  '{"a":1,"b":[true,null,-0.5e3,"x\\u00e9\\ud83d\\ude00"],"c":{"d":{}}}',
  '{ "n" : 9007199254740993 , "m":[-123456789012345678901234567890, 1.5e300] }',
  '[{"__proto__":{"x":1}},{"constructor":"y","":0}]',
  '"text"',
  "-0",
  `${"[".repeat(MAX_DEPTH)}${"]".repeat(MAX_DEPTH)}`,
];
const PATCHES = [
  '[{"op":"add","path":"/a/-","value":{"x":[1]}},{"op":"test","path":"/b","value":2}]',
  '[{"op":"replace","path":"","value":[1,2]},{"op":"remove","path":"/0"}]',
  '[{"op":"move","from":"/a/0","path":"/b/c"},{"op":"copy","from":"","path":"/__proto__"}]',
  '{"a":{"x":null,"y":1},"b":null,"__proto__":{"z":[]},"constructor":{"k":null}}',
];
const TARGETS: Json[] = [
  parseJson('{"a":[1,{"x":2}],"b":{"c":3},"__proto__":{"q":1}}'),
  [1, [2, 3], { a: 4 }],
  5,
];

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);

const json: readonly Target[] = [
  texts("JSON value", 40_000, [...JSONS, ...PATCHES], {
    covers: ["documents/json-value.ts parseJson"],
    codes: ["BAD_JSON", "VALUE_INVALID"],
    run: (text) => parseJson(text),
    holds(_, value: Json) {
      const again = stringifyJson(value);
      const back = parseJson(again);
      if (!sameJson(back, value)) return "changes when it is written and read";
      if (stringifyJson(back) !== again) return "is not written canonically";
      return depthOf(value) <= MAX_DEPTH ? undefined : "is too deep";
    },
    kept: [
      "[".repeat(200_000),
      `${"[".repeat(100_000)}${"]".repeat(100_000)}`,
      '{"a":'.repeat(100_000),
      `"${"\\".repeat(100_001)}`,
      // Twenty problems below a key of a megabyte made an answer of twenty megabytes.
      `{"${"k".repeat(1_000_000)}":[${Array.from({ length: 30 }, () => '"\\ud800"').join()}]}`,
    ],
  }),
  texts("JSON pointer", 15_000, ["", "/a/b", "/~0~1/0", "//x", "/01"], {
    covers: ["documents/json-value.ts parsePointer", "documents/json-value.ts parseIndex"],
    codes: [],
    run: (text) => {
      const steps = parsePointer(text);
      for (const target of TARGETS) if (steps) valueAt(target, steps);
      for (const step of steps ?? [])
        if (String(parseIndex(step) ?? step) !== step && parseIndex(step)! < 2 ** 53) return null;
      return steps;
    },
    holds: (text, steps: string[] | null | undefined) =>
      steps === undefined || (steps !== null && toPointer(steps) === text) ? undefined : "has two texts",
  }),
  texts("JSON patch", 30_000, PATCHES, {
    covers: ["documents/json-value.ts parseJson"],
    codes: ["BAD_JSON", "VALUE_INVALID", "PATCH_INVALID", "PATCH_FAILED"],
    run(text) {
      const patch = parseJson(text, 2);
      const before = TARGETS.map(stringifyJson);
      for (const target of TARGETS) stringifyJson(applyMergePatch(target, patch));
      let failed: unknown;
      for (const target of TARGETS) {
        try {
          stringifyJson(applyJsonPatch(target, patch));
        } catch (error) {
          failed = error;
          if (JSON.stringify((error as SkaldError).details).length > 10_000) return "a refusal is long";
        }
      }
      if (TARGETS.some((target, i) => stringifyJson(target) !== before[i])) return "what is patched changes";
      if (Object.hasOwn(Object.prototype, "z") || Object.hasOwn(Object.prototype, "q"))
        return "the prototype changes";
      if (failed !== undefined) throw failed as Error;
      return undefined;
    },
    holds: (_, said: string | undefined) => said,
  }),
  texts("where JSON lies", 20_000, [...JSONS, ...PATCHES], {
    covers: [],
    codes: [],
    run(text) {
      let value: unknown;
      try {
        value = JSON.parse(text);
      } catch {
        return undefined;
      }
      if (Array.isArray(value)) return [value, itemTexts(text).map((item) => JSON.parse(item) as unknown)];
      if (typeof value !== "object" || value === null) return undefined;
      return [
        Object.entries(value).sort(byName),
        [...memberTexts(text)].map(([k, v]) => [k, JSON.parse(v) as unknown] as const).sort(byName),
      ];
    },
    holds: (_, found: unknown[] | undefined) =>
      found && JSON.stringify(found[0]) !== JSON.stringify(found[1])
        ? "is cut apart in another way"
        : undefined,
  }),
  texts(
    "request",
    8_000,
    [
      '{"client_tx_id":"a","message":"b","expect_seq":3,"reads":[{"doc":"a/b","heads":[]}],"writes":[{"doc":"a/b","value":{}},{"doc":"c/d","delete":true}]}',
      `{"writes":[{"doc":"a/b","base_heads":["${"ab".repeat(32)}"],"changes":["hW9Kgw=="]},{"doc":"x/y","patch":{"__proto__":1}}]}`,
      '{"sql":"SELECT ?","args":[1,"a",null],"branch":"main","at":"3"}',
      '{"statements":[{"sql":"INSERT INTO t VALUES (?)","values":[[1],["b"]]},{"sql":"SELECT :a","args":{"a":true}}]}',
      '{"label":"l","subject":"s","scopes":["*:*"],"expires":"2026-01-01T00:00:00Z"}',
    ],
    {
      covers: [
        "protocol/wire.ts TxRequest",
        "protocol/token-wire.ts TokenRequest",
        "protocol/token-wire.ts RotateRequest",
        "protocol/token-wire.ts CapabilityOwnerRequest",
        "protocol/token-wire.ts RevocationRequest",
        "protocol/people-wire.ts RoleRequest",
        "protocol/people-wire.ts InvitationRequest",
        "protocol/wire.ts BackupRequest",
        "protocol/wire.ts BranchRequest",
        "protocol/wire.ts MergeRequest",
        "protocol/wire.ts RestoreRequest",
        "protocol/wire.ts SnapshotRequest",
        "protocol/wire.ts SnapshotRestoreRequest",
        "protocol/wire.ts SyncCompareRequest",
        "protocol/wire.ts SyncPullRequest",
        "protocol/wire.ts TicketRequest",
        "protocol/wire.ts EraseRequest",
        "protocol/wire.ts ErasureRequest",
        "protocol/wire.ts RetentionRequest",
        "protocol/query-wire.ts SqlRequest",
        "protocol/watch-wire.ts WatchRequest",
      ],
      codes: [],
      run(text) {
        let value: unknown;
        try {
          value = JSON.parse(text);
        } catch {
          return undefined;
        }
        return [
          TxRequest,
          TokenRequest,
          RotateRequest,
          CapabilityOwnerRequest,
          RevocationRequest,
          RoleRequest,
          InvitationRequest,
          BackupRequest,
          BranchRequest,
          MergeRequest,
          RestoreRequest,
          SnapshotRequest,
          SnapshotRestoreRequest,
          SyncCompareRequest,
          SyncPullRequest,
          TicketRequest,
          EraseRequest,
          ErasureRequest,
          RetentionRequest,
          SqlRequest,
          SqlBatch,
          WatchRequest,
        ].map((shape) => shape.safeParse(value).success);
      },
    },
  ),
];

const routes = MOUNTS.flatMap((mount) => mount.routes);
const query: Target = texts(
  "query",
  15_000,
  [
    "at=12&branch=main",
    "limit=10&cursor=abc&collection=c&prefix=p&values=true",
    "dry_run=true&from=1&to=2",
    "at=2026-01-01T00:00:00%2B01:00&paths=/a&paths=/b",
    "confirm=x&__proto__=1&constructor=2",
  ],
  {
    covers: [],
    codes: ["BAD_REQUEST"],
    run(text) {
      let refused: unknown;
      for (const route of [0, 7, 13].map(
        (n) => routes[(text.length + n) % routes.length] as (typeof routes)[0],
      )) {
        try {
          readQuery(route, text);
        } catch (error) {
          refused = error;
          if (!(error instanceof SkaldError)) throw error;
          if (JSON.stringify(error.details).length > 20_000) return "a refusal is long";
        }
      }
      if (refused !== undefined) throw refused as Error;
      return undefined;
    },
    holds: (_, said: string | undefined) => said,
  },
);
const longQueries: Target = {
  ...query,
  name: "long query",
  runs: 40,
  make: (random) =>
    `${random.pick(["a", "limit", "paths", "__proto__", "%"])}=&`.repeat(8000).slice(0, 16_000),
  holds: () => undefined,
  // For one route: the server asks no other.
  run: (text) => readQuery(routes[3] as (typeof routes)[0], text as string),
  // Eight thousand times one name took time with the square of that.
  kept: ["", "a&".repeat(8000), "limit&".repeat(2500)],
};

/** Bytes cut into chunks anywhere, the same for the same bytes. */
async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  let seed = bytes.length;
  for (let at = 0; at < bytes.length;) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    const size = 1 + (seed % 23);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

const files = [
  '{"id":1,"a":"x"}\n{"id":"two","b":[1,2]}\r\n\n{"doc":"c/k","value":{"n":9007199254740993}}',
  '[{"id":1},{"id":"b","t":"\\"],[{"}, {"_id":3,"é":[{}]} ]',
  "\ufeff[ ]",
  '{"doc":"c/k","value":{"x":1},"value":{"x":2}}',
].map((text) => new TextEncoder().encode(text));
const naming = { collection: "c", forced: false, key: undefined };

const records: Target = {
  name: "file to import",
  covers: [
    "cli/import-record.ts nameRecord",
    "cli/line-splitter.ts splitLines",
    "cli/json-array-splitter.ts splitJsonArray",
  ],
  runs: 15_000,
  codes: ["BAD_JSON", "IMPORT_INVALID", "NAME_INVALID", "TOO_LARGE"],
  make: (random) => spoilt(random.pick(files), random, files),
  async run(bytes) {
    let failed: unknown;
    const isArray = (bytes as Uint8Array)[0] === 0x5b;
    for (const split of [isArray ? splitJsonArray : splitLines]) {
      const found: { text: Uint8Array; named: NamedRecord }[] = [];
      try {
        for await (const text of split(chunksOf(bytes as Uint8Array), 120)) {
          found.push({ text, named: nameRecord(text, naming) });
        }
      } catch (error) {
        failed = error;
      }
      for (const { text, named } of found) {
        const read = JSON.parse(new TextDecoder().decode(text)) as Record<string, unknown>;
        const own = JSON.parse(named.json) as unknown;
        const whole = JSON.stringify(own) === JSON.stringify(read);
        if (!whole && JSON.stringify(own) !== JSON.stringify(read["value"]))
          return "the record sent is another one";
      }
    }
    if (failed !== undefined) throw failed as Error;
    return undefined;
  },
  holds: (_: Uint8Array, said: string | undefined) => said,
};
const oneRecord: Target = texts("record to import", 4_000, [...JSONS, '{"id":"x"}'], {
  covers: [],
  codes: ["BAD_JSON", "IMPORT_INVALID", "NAME_INVALID"],
  run: (text) => nameRecord(new TextEncoder().encode(text), naming),
  // Overflowed the stack; a repeated member was sent as it stood first, and checked as it stood last.
  kept: [`{"a":${"[".repeat(20_000)}${"]".repeat(20_000)}}`, '{"doc":"c/k","value":1,"value":{}}'],
  holds: (text, { json: sent }: NamedRecord) =>
    text.includes('"value":1,"value"') && sent !== "{}" ? "the first of two members counts" : undefined,
});

export const textTargets: readonly Target[] = [
  ...capabilities,
  ...ids,
  ...json,
  query,
  longQueries,
  records,
  oneRecord,
  texts("what may be an address", 5_000, cids, {
    covers: [],
    codes: [],
    run: looksLikeCid,
  }),
];
