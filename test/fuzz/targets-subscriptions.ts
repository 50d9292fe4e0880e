import { readFrame, type Frame } from "../../src/http/subscription-frame.ts";
import { toHex } from "../../src/ids/hash.ts";
import {
  AckRequest,
  NackRequest,
  ParkedRequest,
  SubscriptionRequest,
} from "../../src/protocol/subscription-wire.ts";
import { checkSubscriptionName } from "../../src/subscriptions/subscription-definition.ts";
import { decodeState, encodeState, type KeptState } from "../../src/subscriptions/subscription-state.ts";
import type { Random, Target } from "./harness.ts";
import { spoilt, spoiltText } from "./mutate.ts";

/** What consumers of durable subscriptions send, and what is kept of them. */

const FRAMES = ['{"ack":12}', '{"ack":[1,2,30]}', '{"nack":[7],"delay_ms":500}', '{"ack":1,"nack":2}'];
const BODIES = [
  '{"mode":"shared","key":"doc","include":"json","collection":"c","prefix":"p","docs":["a/b"],"from":"now"}',
  '{"ack_ms":1000,"max_unacked":10,"max_attempts":3,"branch":"main"}',
  '{"seq":1}',
  '{"ids":[1,2],"consumer":"c","delay_ms":5}',
  '{"do":"retry","ids":"all"}',
];
const NAMES = ["mailer", "a.b-c_d", "_x", "0", "x".repeat(128)];
const STATES: readonly KeptState[] = [
  { epoch: 1, position: 0, mark: new Uint8Array(0), ahead: [], failures: [], parked: [] },
  {
    epoch: 3,
    position: 1000,
    mark: new Uint8Array(8).fill(3),
    ahead: [
      [1002, 1002],
      [1005, 70_000],
    ],
    failures: [[1003, 2]],
    parked: [
      { seq: 12, attempts: 3, reason: "timeout", retry: false },
      { seq: 900, attempts: 1, reason: "gone", retry: true },
    ],
  },
];

const from =
  (good: readonly string[]) =>
  (random: Random): string =>
    random.chance(0.02) ? random.pick(good) : spoiltText(random.pick(good), random, good);

export const subscriptionTargets: readonly Target[] = [
  {
    name: "frame of a subscription",
    covers: ["http/subscription-frame.ts readFrame"],
    runs: 10_000,
    codes: ["BAD_REQUEST"],
    make: from(FRAMES),
    run: (text) => readFrame(Buffer.from(text as string)),
    holds: (_text: never, frame: never) => {
      const { ack, nack, delay } = frame as Frame;
      const seqs = [...(ack ?? []), ...(nack ?? []), delay];
      return seqs.every((n) => Number.isSafeInteger(n) && n >= 0) ? undefined : "a seq that is none";
    },
  },
  {
    name: "requests of a subscription",
    covers: ["SubscriptionRequest", "AckRequest", "NackRequest", "ParkedRequest"].map(
      (name) => `protocol/subscription-wire.ts ${name}`,
    ),
    runs: 4000,
    codes: [],
    make: from(BODIES),
    run: (text) => {
      let value: unknown;
      try {
        value = JSON.parse(text as string);
      } catch {
        return undefined;
      }
      return [SubscriptionRequest, AckRequest, NackRequest, ParkedRequest].map(
        (schema) => schema.safeParse(value).success,
      );
    },
  },
  {
    name: "name of a subscription",
    covers: ["subscriptions/subscription-definition.ts checkSubscriptionName"],
    runs: 5000,
    codes: ["NAME_INVALID"],
    make: from(NAMES),
    run: (text) => checkSubscriptionName(text as string),
    holds: (_text: never, name: never) =>
      /^[\w.-]{1,128}$/.test(name) && name !== ".." ? undefined : "a name that no path can hold",
  },
  {
    name: "state of a subscription",
    covers: ["subscriptions/subscription-state.ts decodeState"],
    runs: 10_000,
    codes: [],
    make: (random) => spoilt(encodeState(random.pick(STATES)), random, STATES.map(encodeState)),
    run: (bytes) => {
      try {
        return decodeState(bytes as Uint8Array);
      } catch (error) {
        if (error instanceof RangeError || (error as Error).name === "RangeError") return undefined;
        throw error;
      }
    },
    holds: (bytes: never, state: never) =>
      state === undefined || toHex(encodeState(state)) === toHex(bytes)
        ? undefined
        : "reads as what it is not",
  },
];
