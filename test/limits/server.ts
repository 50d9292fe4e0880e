import type { ServerLimits } from "../../src/http/load.ts";
import { readConfig } from "../../src/config.ts";
import { startService, type Service } from "../../src/service.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, startHttp, type Reply } from "../http/fixture.ts";

/** A server as anyone starts it, with the limits of the table. */
export const { ask } = await startHttp(tempDir());
export const DB = `${API}/db/notes`;
export const TX = `${DB}/branches/main/tx`;

beforeAll(async () => {
  await ask("PUT", DB);
  await ask("PUT", `${DB}/docs/k/seed`, { body: { n: 1 } });
});

export interface Own {
  readonly service: Service;
  readonly port: number;
  readonly token: string;
  ask(method: string, path: string): Promise<Pick<Reply, "status" | "json">>;
}

const made: Service[] = [];
afterAll(() => Promise.all(made.map((service) => service.stop("the tests are over"))));

/** A server in this process, with limits that are small enough to be reached. */
export async function small(limits: Partial<ServerLimits>): Promise<Own> {
  const config = readConfig({ dir: tempDir(), port: "0", logLevel: "silent", workers: "1" }, {});
  const service = await startService(config, { listen: true, limits });
  made.push(service);
  const url = service.url as string;
  const token = service.firstToken as string;
  const own: Own = {
    service,
    port: Number(new URL(url).port),
    token,
    ask: async (method, path) => {
      // A connection of its own: one that is kept would count.
      const headers = { authorization: `Bearer ${token}`, connection: "close" };
      const reply = await fetch(url + path, { method, headers });
      const text = await reply.text();
      return {
        status: reply.status,
        json: (text.startsWith("{") ? JSON.parse(text) : {}) as Record<string, unknown>,
      };
    },
  };
  await own.ask("PUT", DB);
  return own;
}

let plain: Promise<Own> | undefined;
export const seeded = (): Promise<Own> => (plain ??= small({}));
