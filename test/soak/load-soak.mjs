import { mkdirSync } from "node:fs";
import path from "node:path";
import { Calls } from "./calls.mjs";
import { WallClock } from "./clock.mjs";
import { Disk } from "./disk.mjs";
import { isExpectedFailure } from "./expected.mjs";
import { makeFaults } from "./faults.mjs";
import { Findings } from "./findings.mjs";
import { hostileClient } from "./hostile.mjs";
import { judgeDescriptors, judgeMemory, judgeStarts, judgeWal } from "./judge.mjs";
import { seeded, wait } from "./random.mjs";
import { automergeWriter, reader } from "./readers.mjs";
import { Sampler } from "./sampler.mjs";
import { SkaldServer } from "./server.mjs";
import { compareDb, ensureDb, newSlot, operator, verifyDb } from "./slots.mjs";
import { socketWriter, txWriter } from "./tx-writers.mjs";
import { valueWriter } from "./value-writer.mjs";

const SLOTS = 6;
const OPEN_DBS = 4;
/** A stalled reader's connection is the server's to end. */
const STALL_LIMIT_S = 180;
/** Files of one open db, with what SQLite keeps beside each. */
const FILES_PER_DB = 9;
/** Chances of what is done in a stormy stretch, and in a long life between two of them. */
const STORM = { kill: 5, term: 3, pause: 2, clock: 2, full: 3, flood: 1, stall: 1 };
const CALM = { pause: 1, clock: 3, full: 2, flood: 2, stall: 1 };

/**
 * The load with everything that is done to the server, for `ms`: stretches of storm, with many restarts, and
 * long lives, in which memory can show that it does not grow. Gives what the report is made from.
 */
export async function runLoad(options) {
  const { ms, seed, root, out, diskMb, load, tell, signal, spoil } = options;
  mkdirSync(out, { recursive: true });
  const findings = new Findings(out, tell);
  const disk = new Disk(root, diskMb);
  const clock = new WallClock(root);
  const settings = { reserveMb: 8, calm: false };
  const large = options.large ?? 20_000;
  const started = Date.now();
  const run = {
    findings,
    disk,
    clock,
    settings,
    stops: [],
    starts: [],
    stalls: [],
    fills: 0,
    readsWhileFull: 0,
    rnd: seeded(seed, "faults"),
  };
  const server = new SkaldServer({
    dir: disk.data,
    env: clock.env,
    flags: [
      "--open-dbs",
      String(OPEN_DBS),
      "--cache-mb",
      "4",
      "--workers",
      "1",
      "--reserve-mb",
      String(settings.reserveMb),
    ],
    logFile: path.join(out, "server.log"),
    onLine: (line) => hearLine(line, calls, findings),
    onEnd: ({ code, signal: by }) => {
      findings.found(`the server ended by itself with ${code ?? by}`, { life: server.life });
      const fallen = calls.weather.begin("restart");
      sampler.mark("kill", "by itself");
      const reopen = calls.gate.close();
      run
        .exclusive(() => run.revive("after it ended by itself"))
        .catch((error) => findings.found("the soak could not start it again", { error: error.message }))
        .finally(() => {
          fallen();
          reopen();
        });
    },
  });
  const calls = new Calls({ server, finding: (what, details) => findings.found(what, details) });
  const slots = Array.from({ length: SLOTS }, (_, i) => newSlot(`soak-${i}`));
  const sampler = new Sampler({ server, disk, tally: calls.tally, out });
  const folder = path.join(out, "ledger");
  const judge = (what, wrong) => findings.judge(what, wrong);
  Object.assign(run, { server, calls, slots, sampler });

  let base = 0;
  let last = Promise.resolve();
  /** One start or end of the server after the other. */
  run.exclusive = (work) => {
    const done = last.then(work);
    last = done.catch(() => {});
    return done;
  };
  /** Starts a server that is gone and compares what it holds, while the gate is closed. */
  run.revive = async (when) => {
    if (server.running) return;
    if (!(await calls.gate.drained(60_000))) findings.found("requests hang on after the server's end");
    calls.dropConnections();
    await run.startServer();
    await run.compareAll(when);
  };
  run.startServer = async () => {
    for (let tries = 0; ; tries += 1) {
      try {
        run.starts.push(await server.start());
        break;
      } catch (error) {
        findings.found("the server did not start", { error: error.message });
        if (tries === 3) throw error;
        // A full disk may be why; with room it must start.
        disk.empty();
        await wait(1000);
      }
    }
    base = server.descriptors() ?? 0;
    for (const slot of slots) if (slot.book) await ensureDb({ calls, slot, folder });
  };
  run.compareAll = async (when) => {
    for (const slot of slots) {
      if (spoil) spoil(slot.book);
      await compareDb({ calls, slot, judge, when });
    }
  };

  /** Load off, connections gone: what is left is what the server keeps. */
  async function quiet(when) {
    const over = calls.weather.begin("quiet");
    const reopen = calls.gate.close();
    try {
      if (!(await calls.gate.drained(120_000)))
        findings.found(`${calls.gate.underWay} requests got no answer within two minutes`);
      closeStalls();
      await run.compareAll(when);
      for (const slot of slots) if (slot.book) await verifyDb({ calls, slot, judge, when, past: true });
      calls.dropConnections();
      await wait(3000);
      sampler.mark("quiet");
      sampler.quiet(base);
    } finally {
      over();
      reopen();
    }
  }

  function closeStalls(all = true) {
    run.stalls = run.stalls.filter(({ life, t, stalled }) => {
      if (life !== server.life) {
        stalled.close();
        return false;
      }
      const seconds = (Date.now() - t) / 1000;
      if (seconds > STALL_LIMIT_S) {
        const left = stalled.kinds();
        findings.judge(
          "stalled readers",
          left.length > 0
            ? [`the server did not end ${[...new Set(left)].join(" and ")} readers in ${STALL_LIMIT_S} s`]
            : [],
        );
      } else if (!all) return true;
      stalled.close();
      return false;
    });
  }

  let over = false;
  const stopped = () => over;
  const workers = [];
  try {
    await run.startServer();
    for (const slot of slots) await ensureDb({ calls, slot, folder });
    const kinds = {
      value: [valueWriter, 3],
      tx: [txWriter, 3],
      ws: [socketWriter, 2],
      am: [automergeWriter, 1],
      read: [reader, 3],
      bad: [hostileClient, 2],
    };
    const begin = (work, name, pace) => {
      const rnd = seeded(seed, name);
      const breathe = () => calls.gate.through(() => wait(rnd.below(pace)));
      workers.push(
        work({ calls, slots, name, rnd, stopped, breathe, judge, folder, out, large }).catch((error) =>
          findings.found(`the soak's own ${name} failed`, { error: error.stack?.slice(0, 1500) }),
        ),
      );
    };
    for (const [kind, [work, count]] of Object.entries(kinds))
      for (let i = 0; i < Math.max(1, Math.round(count * load)); i += 1)
        begin(work, `${kind}${i}`, kind === "bad" ? 200 : 30);
    begin(operator, "operator", 50);
    sampler.start(Math.min(5000, Math.max(1000, ms / 300)));
    await weatherFor(ms);
    await quiet("at the end");
  } catch (error) {
    findings.found("the soak could not go on", { error: error.stack?.slice(0, 1500) });
  } finally {
    over = true;
    await Promise.race([Promise.all(workers), wait(60_000)]);
    sampler.stop();
    for (const { stalled } of run.stalls) stalled.close();
    for (const slot of slots) slot.book?.flush();
  }
  calls.weather.begin("restart");
  const end = await server.stop();
  findings.judge("the last stop", end.wrong === undefined ? [] : [end.wrong]);
  run.stops.push(end.ms);

  const memory = judgeMemory(sampler.samples);
  judge("memory", memory.wrong);
  const startPoints = [...new Set(sampler.samples.map(({ life }) => life))]
    .map((life) => sampler.samples.find((each) => each.life === life && each.age >= 8 && each.rss > 0))
    .filter((each) => each !== undefined);
  const startsJudged = judgeStarts(startPoints);
  judge("memory after starts", startsJudged.wrong);
  judge("descriptors", judgeDescriptors(sampler.quiets, { allowance: OPEN_DBS * FILES_PER_DB + 40 }).wrong);
  const wal = judgeWal(sampler.samples);
  judge("write-ahead logs", wal.wrong);
  disk.close();
  return {
    seed,
    ms: Date.now() - started,
    findings,
    tally: calls.tally,
    samples: sampler.samples,
    marks: sampler.marks,
    quiets: sampler.quiets,
    stops: run.stops,
    starts: run.starts,
    fills: run.fills,
    readsWhileFull: run.readsWhileFull,
    lives: server.life,
    memory,
    startsRise: startsJudged.rise,
    wal: wal.most,
    missing: [
      ...(clock.missing ? [clock.missing] : []),
      ...(disk.mounted ? [] : ["no disk of its own: it was never full"]),
    ],
  };

  /** One fault after the other until the time is over. */
  async function weatherFor(total) {
    const until = Date.now() + total;
    const faults = makeFaults(run);
    const { rnd } = run;
    // A life shows a slope only when it lasts, so an hour is one storm and one life.
    const round = total > 20 * 60_000 ? Math.min(60 * 60_000, total) : total / 2;
    const storm = Math.min(5 * 60_000, round * 0.4);
    const pieces = Math.max(2, Math.ceil((round - storm) / (4 * 60_000)));
    const left = () => until - Date.now();
    const stretch = async (length, chances, pause) => {
      let deck = [];
      const end = Math.min(until, Date.now() + length);
      while (Date.now() < end && !signal.aborted) {
        await wait(Math.min(rnd.between(pause / 2, pause * 1.5), Math.max(0, end - Date.now())));
        closeStalls(false);
        if (Date.now() >= end || signal.aborted) break;
        if (deck.length === 0) deck = shuffled(rnd, chances);
        await faults[deck.pop()]();
      }
    };
    await wait(Math.min(5000, left()));
    while (left() > 0 && !signal.aborted) {
      settings.calm = false;
      await stretch(storm, STORM, Math.min(4000, storm / 6));
      settings.calm = true;
      // Each long life begins anew, so that its age is its own.
      if (left() > storm) await faults.term();
      for (let i = 0; i < pieces && left() > 0 && !signal.aborted; i += 1) {
        const piece = (round - storm) / pieces;
        await stretch(piece, CALM, Math.min(15_000, piece / 4));
        if (left() > 0 && !signal.aborted) await quiet("in a quiet moment");
      }
    }
  }
}

/** Each as often as its chance says, in any order: so a short stretch has something of everything. */
function shuffled(rnd, chances) {
  const deck = Object.entries(chances).flatMap(([name, count]) => Array.from({ length: count }, () => name));
  return deck
    .map((name) => [rnd.random(), name])
    .toSorted(([a], [b]) => a - b)
    .map(([, name]) => name);
}

/** Lines of the server's log. */
function hearLine(line, calls, findings) {
  let said;
  try {
    said = JSON.parse(line);
  } catch {
    findings.found(`the server says: ${line.slice(0, 200)}`, {});
    return;
  }
  const weather = calls.weather.since(Date.now() - 5000);
  if (said.msg === "failure" && isExpectedFailure(said, [...weather, "deleting"])) return;
  findings.found(`the server logs a failure: ${said.err?.code ?? said.err?.type ?? said.msg}`, {
    weather,
    line: line.slice(0, 1500),
  });
}
