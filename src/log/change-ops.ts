import { checkAction, MarkPairs } from "./change-actions.ts";
import { BooleanColumn, DeltaColumn, NULL, StringColumn, UintColumn } from "./change-columns.ts";
import {
  ACTION,
  DELETE,
  EXPAND,
  INCREMENT,
  INSERT,
  KEY_ACTOR,
  KEY_CTR,
  KEY_STR,
  MAKE_LIST,
  MAKE_MAP,
  MAKE_TABLE,
  MAKE_TEXT,
  MAPPING,
  MARK,
  MARK_NAME,
  OBJ_ACTOR,
  OBJ_CTR,
  PRED_ACTOR,
  PRED_CTR,
  PRED_NUM,
  SEQUENCE,
  VAL_META,
  VAL_RAW,
} from "./change-layout.ts";
import type { ColumnRanges } from "./change-layout.ts";
import { ActorUse, Preds } from "./change-preds.ts";
import { Intervals, Targets } from "./change-refs.ts";
import { checkValues, isProto } from "./change-values.ts";
import { malformed, tooLarge } from "./chunk.ts";
import type { ChangeLimits } from "./guard.ts";

export interface OpsContext {
  startOp: number;
  /** The author and the other actors. */
  actors: number;
  /** Rank of each actor index when the ids are sorted; null when there is only the author. */
  ranks: Int32Array | null;
}

/**
 * Walks all operations by segments and returns how many there are. Throws CHANGE_MALFORMED or
 * CHANGE_TOO_LARGE.
 */
export function walkOps(
  bytes: Uint8Array,
  at: ColumnRanges,
  context: OpsContext,
  limits: ChangeLimits,
): number {
  const first = new OpsWalk(bytes, at, context, limits, null);
  const count = first.run();
  // Replacing a value set earlier in the same change is rare, and checking it takes a record of every
  // operation's target, so only such changes are walked twice.
  if (first.preds.replacesOwn) new OpsWalk(bytes, at, context, limits, new Targets(bytes)).run();
  return count;
}

class OpsWalk {
  readonly #bytes: Uint8Array;
  readonly #at: ColumnRanges;
  readonly #startOp: number;
  readonly #limits: ChangeLimits;
  readonly #use: ActorUse;
  readonly preds: Preds;
  #bare = 0;
  #raw: number;
  // What this change makes and inserts, as intervals of operation numbers in ascending order.
  #makes: Intervals | null = null;
  #inserts: Intervals | null = null;
  readonly #marks = new MarkPairs();
  readonly #targets: Targets | null;

  constructor(
    bytes: Uint8Array,
    at: ColumnRanges,
    context: OpsContext,
    limits: ChangeLimits,
    targets: Targets | null,
  ) {
    this.#targets = targets;
    this.#bytes = bytes;
    this.#at = at;
    this.#startOp = context.startOp;
    this.#limits = limits;
    this.#raw = at[2 * VAL_RAW] as number;
    this.#use = new ActorUse(context.actors, context.ranks);
    this.preds = new Preds(
      this.#uint(PRED_ACTOR, "pred actor"),
      this.#delta(PRED_CTR, "pred counter"),
      this.#use,
      context.startOp,
      limits.preds,
      targets,
    );
  }

  #uint(slot: number, name: string): UintColumn {
    return new UintColumn(this.#bytes, this.#at[2 * slot] as number, this.#at[2 * slot + 1] as number, name);
  }
  #delta(slot: number, name: string): DeltaColumn {
    return new DeltaColumn(this.#bytes, this.#at[2 * slot] as number, this.#at[2 * slot + 1] as number, name);
  }
  #has(slot: number): boolean {
    return this.#at[2 * slot] !== this.#at[2 * slot + 1];
  }
  #boolean(slot: number, name: string): BooleanColumn {
    return new BooleanColumn(
      this.#bytes,
      this.#at[2 * slot] as number,
      this.#at[2 * slot + 1] as number,
      name,
    );
  }
  #string(slot: number, name: string): StringColumn {
    return new StringColumn(
      this.#bytes,
      this.#at[2 * slot] as number,
      this.#at[2 * slot + 1] as number,
      name,
    );
  }

  run(): number {
    const bytes = this.#bytes;
    const limits = this.#limits;
    const startOp = this.#startOp;
    const action = this.#uint(ACTION, "action");
    const insert = this.#boolean(INSERT, "insert");
    const meta = this.#uint(VAL_META, "value metadata");
    const predNum = this.#uint(PRED_NUM, "pred count");
    const hasObj = this.#has(OBJ_ACTOR) || this.#has(OBJ_CTR);
    const objActor = hasObj ? this.#uint(OBJ_ACTOR, "object actor") : null;
    const objCtr = hasObj ? this.#uint(OBJ_CTR, "object counter") : null;
    const keyActor = this.#has(KEY_ACTOR) ? this.#uint(KEY_ACTOR, "key actor") : null;
    const keyCtr = this.#has(KEY_CTR) ? this.#delta(KEY_CTR, "key counter") : null;
    const keyStr = this.#has(KEY_STR) ? this.#string(KEY_STR, "key") : null;
    const expand = this.#has(EXPAND) ? this.#boolean(EXPAND, "expand") : null;
    const markName = this.#has(MARK_NAME) ? this.#string(MARK_NAME, "mark name") : null;

    let done = 0;
    for (;;) {
      action.load();
      let n = action.left;
      if (n === 0) break;
      insert.load();
      if (insert.left < n) n = insert.left;
      meta.load();
      if (meta.left < n) n = meta.left;
      predNum.load();
      if (predNum.left < n) n = predNum.left;
      let objA = NULL;
      let objC = NULL;
      if (objActor !== null && objCtr !== null) {
        objActor.load();
        if (objActor.left < n) n = objActor.left;
        objCtr.load();
        if (objCtr.left < n) n = objCtr.left;
        objA = objActor.value;
        objC = objCtr.value;
      }
      let keyA = NULL;
      if (keyActor !== null) {
        keyActor.load();
        if (keyActor.left < n) n = keyActor.left;
        keyA = keyActor.value;
      }
      let keyC = NULL;
      let keyStep = 0;
      if (keyCtr !== null) {
        keyCtr.load();
        if (keyCtr.left < n) n = keyCtr.left;
        if (!keyCtr.isNull) {
          keyC = keyCtr.value;
          keyStep = keyCtr.step;
        }
      }
      let keyS = NULL;
      if (keyStr !== null) {
        keyStr.load();
        if (keyStr.left < n) n = keyStr.left;
        keyS = keyStr.start;
      }
      let expanding = false;
      if (expand !== null) {
        expand.load();
        if (expand.left < n) n = expand.left;
        expanding = expand.value;
      }
      let name = NULL;
      if (markName !== null) {
        markName.load();
        if (markName.left < n) n = markName.left;
        name = markName.start;
      }
      if (n === 0) malformed("columns-differ", "The columns describe different numbers of operations");
      if (done + n > limits.ops) tooLarge("ops", limits.ops, done + n);

      const op = startOp + done;
      if (op + n - 1 > limits.maxOp) tooLarge("maxOp", limits.maxOp, op + n - 1);
      const kind = keyS !== NULL ? MAPPING : SEQUENCE;
      const depth = this.#checkObject(objA, objC, kind, op);
      if (keyS !== NULL) {
        if (keyA !== NULL || keyC !== NULL)
          malformed("key", "An operation has both a key and an element", { op });
        const length = (keyStr as StringColumn).length;
        if (length > limits.keyBytes) tooLarge("keyBytes", limits.keyBytes, length);
        if (length === 9 && isProto(bytes, keyS)) malformed("key-proto", "A map key is __proto__", { op });
        if (insert.value) malformed("insert-into-map", "An operation inserts under a map key", { op });
      } else {
        this.#checkElement(keyA, keyC, keyStep, objA, objC, insert.value, op, n);
      }
      checkAction(action.value, insert.value, meta.value, name, expanding, kind, predNum.value, op);
      if (name !== NULL && (markName as StringColumn).length > limits.keyBytes) {
        tooLarge("keyBytes", limits.keyBytes, (markName as StringColumn).length);
      }
      this.#raw = checkValues(bytes, this.#raw, this.#at[2 * VAL_RAW + 1] as number, meta.value, n, op);
      if (predNum.value === NULL) malformed("pred", "An operation has no pred count", { op });
      const act = action.value;
      if (this.#targets !== null) {
        const keyLength = keyS === NULL ? 0 : (keyStr as StringColumn).length;
        const isValue = act !== DELETE && act !== INCREMENT && act !== MARK;
        this.#targets.add(op, n, isValue, insert.value, objA, objC, keyS, keyLength, keyA, keyC, keyStep);
      }
      if (predNum.value > 0) {
        // What this change made itself holds nothing older that could be replaced.
        const fresh = (objA === 0 && objC >= startOp) || (!insert.value && keyA === 0 && keyC >= startOp);
        this.preds.check(predNum.value, fresh ? startOp : 1, op, n);
      }
      if (act === MARK || this.#marks.open) this.#marks.check(act, name, objA, objC, op, n);
      if (act === MAKE_MAP || act === MAKE_LIST || act === MAKE_TEXT || act === MAKE_TABLE) {
        this.#makes ??= new Intervals();
        this.#makes.add(
          op,
          op + n,
          act === MAKE_LIST || act === MAKE_TEXT ? SEQUENCE : MAPPING,
          depth + 1,
          0,
        );
        if (depth + 1 > limits.depth) tooLarge("depth", limits.depth, depth + 1);
      }
      if (insert.value) {
        this.#inserts ??= new Intervals();
        this.#inserts.add(op, op + n, 0, objA, objC);
      }
      if (meta.value < 16 && act !== DELETE) {
        this.#bare += n;
        if (this.#bare > limits.bareOps) tooLarge("bareOps", limits.bareOps, this.#bare);
      }

      action.left -= n;
      insert.left -= n;
      meta.left -= n;
      predNum.left -= n;
      if (objActor !== null && objCtr !== null) {
        objActor.left -= n;
        objCtr.left -= n;
      }
      if (keyActor !== null) keyActor.left -= n;
      keyCtr?.take(n);
      if (keyStr !== null) keyStr.left -= n;
      if (expand !== null) expand.left -= n;
      if (markName !== null) markName.left -= n;
      done += n;
    }
    if (!(
      insert.ended() &&
      meta.ended() &&
      predNum.ended() &&
      this.preds.ended() &&
      this.#raw === this.#at[2 * VAL_RAW + 1] &&
      (objActor === null || objActor.ended()) &&
      (objCtr === null || objCtr.ended()) &&
      (keyActor === null || keyActor.ended()) &&
      (keyCtr === null || keyCtr.ended()) &&
      (keyStr === null || keyStr.ended()) &&
      (expand === null || expand.ended()) &&
      (markName === null || markName.ended())
    )) {
      malformed("columns-differ", "The columns describe different numbers of operations");
    }
    if (this.#marks.open) malformed("mark", "A mark begins and does not end in the same change");
    if (this.#use.unused > 0) {
      malformed("actor-unused", "The change lists an actor that none of its operations names");
    }
    return done;
  }

  /** Returns how deep the object is within what this change makes: 0 for the root and older objects. */
  #checkObject(actor: number, ctr: number, kind: number, op: number): number {
    if (actor === NULL || ctr === NULL) {
      if (actor !== ctr) malformed("object", "An operation names half an object", { op });
      if (kind !== MAPPING) malformed("object-kind", "An operation on the root has no key", { op });
      return 0;
    }
    this.#use.see(actor, op);
    if (ctr === 0) malformed("object", "An operation names an object with number 0", { op });
    const startOp = this.#startOp;
    if (ctr < startOp) return 0;
    if (actor !== 0 || ctr >= op) {
      malformed("refers-ahead", "An operation names an object that does not exist yet", { op, object: ctr });
    }
    const found = this.#makes === null ? -1 : this.#makes.find(ctr);
    if (found < 0)
      malformed("object-missing", "An operation names an object that is none", { op, object: ctr });
    const makes = this.#makes as Intervals;
    if (makes.kind(found) !== kind) {
      malformed("object-kind", "An operation treats a map as a list or a list as a map", { op, object: ctr });
    }
    return makes.a(found);
  }

  #checkElement(
    actor: number,
    ctr: number,
    step: number,
    objA: number,
    objC: number,
    insert: boolean,
    op: number,
    n: number,
  ): void {
    if (ctr === NULL) malformed("key", "An operation has neither a key nor an element", { op });
    if (actor === NULL) {
      if (ctr !== 0 || (n > 1 && step !== 0)) malformed("key", "An operation names half an element", { op });
      if (!insert) malformed("element", "An operation changes the head of a list", { op });
      return;
    }
    this.#use.see(actor, op);
    const last = ctr + step * (n - 1);
    if (ctr === 0 || last === 0) malformed("element", "An element has number 0", { op });
    const startOp = this.#startOp;
    if (ctr < startOp && last < startOp) return;
    // Operation numbers rise by one, so both ends being earlier makes all of them earlier.
    if (actor !== 0 || ctr >= op || last >= op + n - 1) {
      malformed("refers-ahead", "An operation names an element that does not exist yet", {
        op,
        element: ctr,
      });
    }
    const inserts = this.#inserts;
    for (let i = 0; i < n;) {
      const element = ctr + step * i;
      if (element < startOp) {
        i++;
        continue;
      }
      // Text typed after itself: each operation of this very segment follows the one before.
      if (element >= op) {
        if (!insert)
          malformed("element-missing", "An operation names an element that is none", { op, element });
        i++;
        continue;
      }
      const found = inserts === null ? -1 : inserts.find(element);
      if (found < 0 || inserts === null || inserts.a(found) !== objA || inserts.b(found) !== objC) {
        malformed("element-missing", "An operation names an element that is not in its list", {
          op,
          element,
        });
      }
      if (step === 0) break;
      i++;
    }
  }
}
