import type { Records } from "../log/records.ts";
import type { LogWalk } from "../log/walk.ts";
import type { LogStorage } from "../store/contract.ts";
import type { Replay } from "./check-replay.ts";
import type { World } from "../world.ts";
import type { Db } from "./db.ts";
import type { Report } from "./invariants.ts";

export interface Progress {
  readonly done: number;
  readonly of: number;
}

/** What the stages after the log work with. */
export interface Checking {
  readonly db: Db;
  readonly storage: LogStorage;
  readonly walk: LogWalk;
  /** Commits by their seq, from the storage and not through the log. */
  readonly records: Records;
  readonly replay: Replay;
  readonly report: Report;
  readonly world: World;
  readonly random: () => number;
  /** Takes in what was committed since: until the next wait the walk and the log are at the same commit. */
  readonly catchUp: () => void;
  /** Gives way to others. */
  readonly nextSlice: () => Promise<void>;
}
