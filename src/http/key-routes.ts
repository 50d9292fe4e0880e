import type * as z from "zod";
import type { Engine } from "../db/engine.ts";
import { KeyInfo, KeyList, KeyRotated } from "../protocol/wire.ts";
import { noted } from "./noted.ts";
import { iso } from "./point.ts";
import { json, type Route } from "./route.ts";

const tag = "keys";

export const keyRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/keys",
    summary: "The keys that this server signs commits with",
    description: "Their names, which are public, oldest first; the current one comes before the next.",
    tag,
    access: "any",
    answers: { 200: { description: "All of them.", types: { "application/json": KeyList } } },
    handle: ({ services: { engine } }) =>
      json(200, { signs: engine.signing.signers.length > 0, keys: keysOf(engine) }),
  },
  {
    method: "POST",
    path: "/keys",
    summary: "Make the first key: from here on commits are signed",
    tag,
    access: "db.admin",
    answers: { 201: { description: "Made.", types: { "application/json": KeyInfo } } },
    handle: async (call) => {
      const { engine } = call.services;
      const { did } = engine.signing.create();
      await noted(call, "key.create", { detail: did });
      return json(
        201,
        keysOf(engine).find((key) => key.did === did),
      );
    },
  },
  {
    method: "POST",
    path: "/keys/rotate",
    summary: "Have another key take the place of the current one",
    description:
      "Each db that the current one has signed says so by a commit. Again, after one that broke off.",
    job: true,
    tag,
    access: "db.admin",
    answers: { 200: { description: "Done.", types: { "application/json": KeyRotated } } },
    handle: async (call) => {
      const rotated = await call.services.engine.rotateKey();
      await noted(call, "key.rotate", { detail: rotated.to });
      return json(200, rotated);
    },
  },
];

function keysOf({ signing: { keys } }: Engine): z.infer<typeof KeyInfo>[] {
  const signing = keys.filter((key) => key.retired === undefined);
  return keys.map((key) => ({
    did: key.did,
    state: key.retired !== undefined ? "retired" : key === signing[0] ? "current" : "next",
    created: iso(key.created),
    retired: key.retired === undefined ? null : iso(key.retired),
  }));
}
