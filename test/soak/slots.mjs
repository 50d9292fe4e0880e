import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Book, compare } from "./ledger.mjs";
import { wait } from "./random.mjs";

const SKALD = fileURLToPath(new URL("../../bin/skald", import.meta.url));

/** A place for a db that is deleted and made anew: what is known of the one that has it now. */
export function newSlot(db) {
  return {
    db,
    uid: undefined,
    book: undefined,
    generation: 0,
    underWay: 0,
    leaving: false,
    rebuilding: 0,
    ...fresh(),
  };
}

const fresh = () => ({ models: new Map(), chains: new Map(), resumed: new Map(), repeats: [] });

/** Makes the slot's db, or finds it as it was. `past` goes by the gate. */
export async function ensureDb({ calls, slot, folder }) {
  const path_ = `/api/v1/db/${slot.db}`;
  for (let tries = 0; tries < 100; tries += 1) {
    const answer = await calls.sendNow("db.create", { method: "PUT", path: path_ }, slot);
    if (!answer.ok) {
      // Without room a db that is not open cannot be opened; it is looked at when there is room again.
      if (!calls.server.running || (slot.book && answer.code === "STORAGE_FULL")) return;
      await wait(200);
      continue;
    }
    const { uid, seq } = answer.json();
    if (slot.book) {
      if (uid !== slot.uid) calls.finding(`the db ${slot.db} is another one`, { was: slot.uid, is: uid });
      return;
    }
    Object.assign(slot, fresh(), { uid, generation: slot.generation + 1 });
    slot.book = new Book({ folder, db: slot.db, uid });
    // Made by a request whose answer was lost, it may be older than this book, and is still empty.
    if (seq !== 0) calls.finding(`the new db ${slot.db} holds ${seq} commits`, {});
    return;
  }
  calls.finding(`the db ${slot.db} could not be made`, {});
}

/** The whole log, by pages; or the code that keeps it from being read. */
async function wholeLog(calls, slot) {
  const commits = [];
  for (let after = 0; ;) {
    const answer = await calls.sendNow(
      "log.commits",
      { path: `/api/v1/db/${slot.db}/commits?limit=1000&since=${after}` },
      slot,
    );
    if (!answer.ok) return answer.code;
    const page = answer.json();
    // Only what is compared is kept.
    for (const { seq, cid, parents, message, author, entries, time } of page.commits)
      commits.push({
        seq,
        cid,
        parents,
        message,
        author,
        time,
        entries: entries.map(({ doc }) => ({ doc })),
      });
    if (page.commits.length === 0 || commits.length >= page.seq) return commits;
    after = commits.length;
  }
}

const LEAVING = "before it is deleted";

/** Compares a db with its book while nothing is written. Gives the number of commits. */
export async function compareDb({ calls, slot, judge, when }) {
  const { book } = slot;
  if (!book) return 0;
  book.flush();
  const from = Date.now();
  const log = await wholeLog(calls, slot);
  if (log === "STORAGE_FULL" && calls.weather.since(from).includes("brim")) return 0;
  if (!Array.isArray(log)) {
    // One that the server's end cut short is made good by the next.
    if (calls.server.running && (!calls.weather.since(from).includes("restart") || when !== LEAVING))
      calls.finding(`the log of ${slot.db} could not be read ${when}`, {});
    return 0;
  }
  const { wrong, found } = compare(book, log);
  judge(`ledger of ${slot.db} ${when}`, wrong);
  for (const [tx, { seq, commit }] of found) book.acknowledged({ tx, seq, commit, duplicate: true });
  return log.length;
}

export async function verifyDb({ calls, slot, judge, when, past = false }) {
  const from = Date.now();
  const send = past ? calls.sendNow.bind(calls) : calls.send.bind(calls);
  const answer = await send("verify", { path: `/api/v1/db/${slot.db}/verify` }, slot);
  if (!answer.ok) return;
  const last = lastLine(answer);
  if (last?.verdict === "sound") return judge(`verify of ${slot.db} ${when}`, []);
  const weather = calls.weather.since(from);
  if (
    last?.verdict === undefined &&
    (weather.includes("full") || weather.includes("restart") || slot.leaving)
  )
    return;
  judge(`verify of ${slot.db} ${when}`, [JSON.stringify(last).slice(0, 1000)]);
}

function lastLine(answer) {
  const lines = answer.body.toString("utf8").trim().split("\n");
  try {
    return JSON.parse(lines.at(-1));
  } catch {
    return undefined;
  }
}

/** Deletes, compacts, rebuilds, verifies, exports, makes tokens: what an operator does. */
export async function operator({ calls, slots, rnd, stopped, breathe, judge, folder, out, large }) {
  while (!stopped()) {
    await breathe();
    const full = slots.find((slot) => slot.book && slot.book.commits.size + slot.book.unknown.size > large);
    const slot = full ?? rnd.pick(slots);
    if (!slot.book) {
      await calls.gate.through(() => ensureDb({ calls, slot, folder }));
      continue;
    }
    const dice = full ? 0 : rnd.random();
    if (dice < 0.04) await remove(slot);
    else if (dice < 0.25) await task("compact", slot);
    else if (dice < 0.4) await task("rebuild", slot);
    else if (dice < 0.6) await verifyDb({ calls, slot, judge, when: "under load" });
    else if (dice < 0.7) await tokens();
    else if (dice < 0.76) await exported(slot);
    await wait(300 + rnd.below(1500));
  }

  async function task(kind, slot) {
    const { generation } = slot;
    const from = Date.now();
    if (kind === "rebuild") slot.rebuilding += 1;
    const answer = await calls.send(kind, { method: "POST", path: `/api/v1/db/${slot.db}/${kind}` }, slot);
    setTimeout(() => {
      if (kind === "rebuild") slot.rebuilding -= 1;
    }, 5000);
    const weather = calls.weather.since(from);
    const excused =
      weather.includes("full") ||
      weather.includes("restart") ||
      slot.generation !== generation ||
      slot.leaving;
    if (answer.ok && lastLine(answer)?.ok !== true && !excused)
      calls.finding(`${kind} ended without a result`, { said: answer.body.toString("utf8").slice(-300) });
  }

  /** Half of the time nobody writes and the log is compared first; else writers lose the db under their hands. */
  async function remove(slot) {
    slot.leaving = true;
    try {
      if (rnd.chance(0.5) || slot.book.commits.size > large) {
        for (let i = 0; slot.underWay > 0 && i < 600; i += 1) await wait(50);
        if (!calls.gate.isOpen) return;
        await calls.gate.through(async () => {
          await compareDb({ calls, slot, judge, when: LEAVING });
        });
      }
      const { book } = slot;
      const answer = await calls.send(
        "db.delete",
        { method: "DELETE", path: `/api/v1/db/${slot.db}?confirm=${slot.db}` },
        slot,
      );
      if (answer.broken) {
        // It was done or it was not.
        let there;
        do there = await calls.send("db.info", { path: `/api/v1/db/${slot.db}` }, slot);
        while (there.broken || there.status === 503);
        if (there.ok) return;
        if (there.code !== "DB_NOT_FOUND") {
          calls.finding(`whether ${slot.db} was deleted cannot be told`, { code: there.code });
          return;
        }
      } else if (!answer.ok && answer.code !== "DB_NOT_FOUND") return;
      slot.book = undefined;
      slot.generation += 1;
      book.close();
      await calls.gate.through(() => ensureDb({ calls, slot, folder }));
    } finally {
      slot.leaving = false;
    }
  }

  async function tokens() {
    const made = await calls.send("token.create", {
      method: "POST",
      path: "/api/v1/admin/tokens",
      body: { label: "soak", scopes: ["*:doc.read"] },
    });
    if (!made.ok) return;
    const { token, id } = made.json();
    await calls.send("db.list", { path: "/api/v1/db", token });
    await calls.send("token.list", { path: "/api/v1/admin/tokens" });
    const gone = await calls.send("token.revoke", { method: "DELETE", path: `/api/v1/admin/tokens/${id}` });
    if (gone.ok) await calls.send("bad.token", { path: "/api/v1/db", token });
  }

  /** By the command line, out and into a db of its own. */
  async function exported(slot) {
    const from = Date.now();
    const { life } = calls.server;
    const file = path.join(out, "export.ndjson");
    const db = `${slot.db}-copy`;
    await calls.gate.through(async () => {
      const went = await command(["export", slot.db, "-o", file, "--quiet"]);
      if (went.code === 0) await command(["import", db, file, "--create", "--quiet"]);
      await calls.sendNow(
        "db.delete",
        { method: "DELETE", path: `/api/v1/db/${db}?confirm=${db}` },
        { ...slot, leaving: true },
      );
    });
    rmSync(file, { force: true });

    async function command(args) {
      const { port, token } = calls.server;
      const done = await run([SKALD, ...args, "--url", `http://127.0.0.1:${port}`], { SKALD_TOKEN: token });
      calls.tally.add(`skald ${args[0]}`, String(done.code));
      const weather = calls.weather.since(from);
      if (done.code !== 0 && calls.server.life === life && weather.length === 0 && !slot.leaving)
        calls.finding(`skald ${args[0]} ended with ${done.code}`, { said: done.said.slice(-600) });
      return done;
    }
  }
}

function run(args, env) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    const hear = (piece) => {
      if (said.length < 100_000) said += piece;
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.once("close", (code) => resolve({ code, said }));
  });
}
