import { flood, stallReaders } from "./hostile.mjs";
import { wait } from "./random.mjs";
import { messageOf } from "./ledger.mjs";

const YEAR = 365 * 86_400;
const JUMPS = [-YEAR * 20, -YEAR, -3600, -60, 0, 0, 60, 3600, YEAR, YEAR * 5];
/** How long the server may go on refusing once there is room again. */
const RECOVER_MS = 15_000;
/** Writes of 64 KiB that may still be taken once the disk is below its reserve: an eighth of it and more. */
const STILL_TAKEN = 200;

/** What is done to the server. Each resolves when it is over; the caller does one after the other. */
export function makeFaults(run) {
  const { calls, server, disk, clock, slots, rnd, findings, sampler, settings } = run;
  let count = 0;

  function restarted(how, end) {
    return run.exclusive(async () => {
      const over = calls.weather.begin("restart");
      sampler.mark(how);
      let reopen;
      const closing = setTimeout(() => (reopen = calls.gate.close()), 300);
      try {
        await end();
        clearTimeout(closing);
        reopen ??= calls.gate.close();
        await run.revive(`after ${how}`);
      } finally {
        over();
        reopen?.();
      }
    });
  }

  return {
    term: () =>
      restarted("term", async () => {
        const over = calls.weather.begin("stopping");
        const { ms, wrong } = await server.stop();
        over();
        run.stops.push(ms);
        findings.judge("a stop", wrong === undefined ? [] : [wrong]);
      }),

    kill: () =>
      restarted("kill", async () => {
        await wait(rnd.below(300));
        await server.kill();
      }),

    async pause() {
      const over = calls.weather.begin("paused");
      sampler.mark("pause");
      await server.pause(1000 + rnd.below(settings.calm ? 4000 : 9000));
      over();
    },

    async clock() {
      if (clock.missing) return;
      sampler.mark("clock");
      clock.jump(rnd.pick(JUMPS));
    },

    async flood() {
      const over = calls.weather.begin("flood");
      sampler.mark("flood");
      await flood({ calls, rnd });
      over();
    },

    /** Readers that never read; the memory they cost while they are there. */
    async stall() {
      const over = calls.weather.begin("flood");
      sampler.mark("stall");
      const before = server.rss();
      const { life } = server;
      const stalled = stallReaders({ calls, slots, rnd });
      await wait(settings.calm ? 15_000 : 5000);
      const after = server.rss();
      if (server.life === life && before !== undefined && after !== undefined)
        findings.judge(
          "memory while readers stall",
          after - before > 300 ? [`rose from ${Math.round(before)} to ${Math.round(after)} MiB`] : [],
        );
      // Requests that they sent one behind the other are under way for as long as they are there.
      run.stalls.push({
        life,
        t: Date.now(),
        stalled: { ...stalled, close: () => (stalled.close(), over()) },
      });
    },

    /** The disk full to the last byte, but for a few pages, or to the reserve. Without a disk of our own, no. */
    async full() {
      const [name, spare] = rnd.pick([
        ["to the last byte", 0],
        ["but for a few pages", 40_000],
        ["to the reserve", (settings.reserveMb * 2 ** 20) / 2],
      ]);
      // Dbs that are not open need room to be opened, also to be read: the reserve is there for that.
      const spells = [calls.weather.begin("full"), ...(spare < 2 ** 20 ? [calls.weather.begin("brim")] : [])];
      const over = () => {
        for (const end of spells) end();
      };
      if (!disk.fill(spare)) return over();
      sampler.mark("full", name);
      run.fills += 1;
      const wrong = [];
      try {
        for (let i = 0, refused = false; !refused; i += 1) {
          const answer = await probe(rnd.pick(slots), 64 * 1024);
          if (answer.broken || answer.gone) break;
          refused = answer.code === "STORAGE_FULL";
          if (i > STILL_TAKEN) {
            wrong.push(`${i} writes were taken`);
            break;
          }
          // What the load frees by deleting or compacting is taken again.
          if (!refused && i % 20 === 19) disk.fill(spare);
        }
        for (const slot of slots) {
          if (!slot.book || slot.leaving) continue;
          const read = await calls.send("doc.list", { path: `/api/v1/db/${slot.db}/docs?limit=20` }, slot);
          if (read.ok) run.readsWhileFull += 1;
        }
        await wait(1000 + rnd.below(4000));
        if (!settings.calm && rnd.chance(0.25)) await restarted("kill", () => server.kill());
      } finally {
        disk.empty();
      }
      const until = Date.now() + RECOVER_MS;
      for (const slot of slots) {
        for (;;) {
          if (!slot.book || slot.leaving) break;
          const answer = await probe(slot, 10);
          if (answer.ok || answer.gone || answer.broken) break;
          if (Date.now() > until) {
            wrong.push(
              `${slot.db} takes no writes ${RECOVER_MS / 1000} s after there is room: ${answer.status} ${answer.code}`,
            );
            break;
          }
          await wait(200);
        }
      }
      over();
      findings.judge(`a disk full ${name}`, wrong);
    },
  };

  async function probe(slot, bytes) {
    if (!slot.book) return { gone: true };
    const tx = `probe-${process.pid}-${(count += 1)}`;
    return calls.write(
      "tx",
      {
        method: "POST",
        path: `/api/v1/db/${slot.db}/branches/main/tx`,
        body: {
          client_tx_id: tx,
          message: messageOf(tx),
          writes: [{ doc: `probe/${count % 5}`, value: { tx, pad: "x".repeat(bytes) } }],
        },
      },
      { slot, tx, docs: [`probe/${count % 5}`], named: true },
    );
  }
}
