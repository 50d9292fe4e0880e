import type * as z from "zod";
import type { TendingPolicy } from "../db/tending.ts";
import { DbSettings } from "../protocol/wire.ts";
import { noted } from "./noted.ts";
import { json, type Route } from "./route.ts";

const path = "/db/:db/settings";
const tag = "dbs";
const answers = { 200: { description: "As they are now.", types: { "application/json": DbSettings } } };

export const settingsRoutes: readonly Route[] = [
  {
    method: "GET",
    path,
    summary: "How this server keeps a db",
    tag,
    access: "db.admin",
    answers,
    handle: (call) => json(200, shown(call.services.engine.settingsOf(call.params["db"] as string))),
  },
  {
    method: "PUT",
    path,
    summary: "Change how this server keeps a db",
    description:
      "What is left out stays as it is. Commits that are `age_ms` old go into bundles by themselves once there are `commits` of them or they have `bytes`; 0 commits: never. Settings are of this server and in no copy of the db.",
    tag,
    access: "db.admin",
    body: { types: { "application/json": DbSettings } },
    answers,
    handle: async (call) => {
      const db = call.params["db"] as string;
      const { bundling = {} } = call.body.value as z.infer<typeof DbSettings>;
      const { age_ms: ageMs, commits, bytes } = bundling;
      const settings = call.services.engine.setSettings(db, {
        ...(commits === undefined ? {} : { commits }),
        ...(bytes === undefined ? {} : { bytes }),
        ...(ageMs === undefined ? {} : { ageMs }),
      });
      await noted(call, "db.settings", { detail: JSON.stringify(call.body.value) });
      return json(200, shown(settings));
    },
  },
];

function shown({ commits, bytes, ageMs }: TendingPolicy): z.infer<typeof DbSettings> {
  return { bundling: { commits, bytes, age_ms: ageMs } };
}
