import { jest } from "@jest/globals";
import { readFileSync } from "node:fs";
import path from "node:path";
import { ERROR_CODES } from "../src/errors.ts";
import { LIMITS, type Limit } from "../src/limits.ts";
import { archiveProbes, snapshotProbes } from "./limits/archive-probes.ts";
import { capabilityProbes } from "./limits/capability-probes.ts";
import { changeProbes, savedProbes } from "./limits/change-probes.ts";
import { httpProbes, socketProbes, alive } from "./limits/server-probes.ts";
import { cliProbes, dbProbes, documentProbes, settingProbes } from "./limits/local-probes.ts";
import { nameProbes, queryProbes, syncProbes, tokenProbes, txProbes } from "./limits/request-probes.ts";
import { syncMessageProbes } from "./limits/sync-probes.ts";
import { watchProbes } from "./limits/watch-probes.ts";
import { schemaProbes, statementCharacters, tablesProbes } from "./limits/schema-probes.ts";
import { sqlProbes } from "./limits/sql-probes.ts";
import { repoProbes, ticketProbes } from "./limits/repo-probes.ts";
import { feedProbes } from "./limits/feed-probes.ts";
import { subscriptionProbes } from "./limits/subscription-probes.ts";
import { invitationProbes, personProbes } from "./limits/people-probes.ts";
import { sessionProbes, signinProbes } from "./limits/signin-probes.ts";
import { graphProbes } from "./limits/graph-probes.ts";
import { holds, type ProbeSpec } from "./limits/probe.ts";

const PROBES: Readonly<Record<string, Readonly<Record<string, ProbeSpec>>>> = {
  http: httpProbes,
  names: { ...nameProbes, statementCharacters },
  query: queryProbes,
  sql: sqlProbes,
  watch: watchProbes,
  tx: txProbes,
  schema: schemaProbes,
  tables: tablesProbes,
  socket: socketProbes,
  feed: feedProbes,
  syncMessage: syncMessageProbes,
  repo: repoProbes,
  capability: capabilityProbes,
  ticket: ticketProbes,
  document: documentProbes,
  change: changeProbes,
  saved: savedProbes,
  sync: syncProbes,
  archive: archiveProbes,
  snapshot: snapshotProbes,
  token: tokenProbes,
  person: personProbes,
  invitation: invitationProbes,
  session: sessionProbes,
  signin: signinProbes,
  db: dbProbes,
  subscription: subscriptionProbes,
  graph: graphProbes,
  cli: cliProbes,
  setting: settingProbes,
};

jest.setTimeout(60_000);

const entries: [string, Limit][] = Object.entries(LIMITS).flatMap(([group, limits]) =>
  Object.entries(limits).map(([name, limit]): [string, Limit] => [`${group}.${name}`, limit]),
);
const probeOf = (name: string): ProbeSpec | undefined => {
  const [group = "", entry = ""] = name.split(".");
  return PROBES[group]?.[entry];
};

describe("the table", () => {
  test("has a probe for each of its limits, and no probe is of another", () => {
    const probed = Object.entries(PROBES).flatMap(([group, probes]) =>
      Object.keys(probes).map((name) => `${group}.${name}`),
    );
    expect(probed.sort()).toEqual(entries.map(([name]) => name).sort());
  });

  test("names codes that exist", () => {
    const words = ["1007", "1009", "waits", "closed", "ignored", "shorter", "replaced", "dropped"];
    for (const [name, { beyond }] of entries) {
      expect({ name, known: beyond in ERROR_CODES || words.includes(beyond) }).toEqual({ name, known: true });
    }
  });

  test("is the one of specs/12-limits.md", () => {
    const page = readFileSync(path.resolve(import.meta.dirname, "../specs/12-limits.md"), "utf8");
    const rows = page.split("\n").filter((line) => /^\| `\w+\.\w+` \|/.test(line));
    expect(rows).toEqual(
      entries.map(
        ([name, { value, unit, bounds, beyond, setting }]) =>
          `| \`${name}\` | ${value} | ${unit} | ${bounds}${setting ? `; \`${setting}\`` : ""} | \`${beyond}\` |`,
      ),
    );
  });
});

describe("exactly the limit is taken, one beyond it is not, and the server goes on:", () => {
  test.each(entries)("%s", async (name, { value, beyond }) => {
    const probe = probeOf(name) as ProbeSpec;
    await holds(probe, probe.made ?? value, beyond);
    await alive();
  });
});

describe("a limit that is off by one is noticed:", () => {
  const cheap = entries.filter(([name]) => probeOf(name)?.cheap);
  test.each(cheap)("%s", async (name, { value, beyond }) => {
    const probe = probeOf(name) as ProbeSpec;
    const right = probe.made ?? value;
    await expect(holds(probe, right - 1, beyond)).rejects.toThrow(/instead of/);
    await expect(holds(probe, right + 1, beyond)).rejects.toThrow(/instead of/);
  });
});
