import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidDigest, cidFromDigest, cidOf, cidToString } from "../ids/cid.ts";
import { blake3, toHex } from "../ids/hash.ts";
import { branchEventIn, encodeBranchEvent, type BranchEvent } from "./branch-events.ts";
import { openBranch, planStep } from "./branch-steps.ts";
import { MAIN } from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import type { DocStage } from "./stage.ts";
import { encodeCommit } from "./commit.ts";
import { headsOf } from "./doc-state.ts";
import { eraseEvent } from "./erased.ts";
import { stageFacts } from "./facts.ts";
import { mergedIn } from "./merged.ts";
import { writeRecord } from "./record.ts";
import { isRotationTxId, rotationTxId } from "./signature.ts";
import type { StoredCommit } from "./stored-commit.ts";
import { planTransaction, stageWrites, type BranchStep, type Transaction } from "./transaction.ts";
import { checkUnchanged, touchedBy, type Unchanged } from "./unchanged.ts";
import type { Added } from "./receipt.ts";
import { GroupGround } from "./group-ground.ts";

/** Transactions of this server. */
export class WritingGroup extends GroupGround {
  add(tx: Transaction): Added {
    if (tx.clientTxId !== "") {
      const seq = this.stage.receipt(tx.author, tx.clientTxId);
      if (seq !== undefined) return this.#repeat(tx, seq);
    }
    const step = tx.step && this.#step(tx.branch ?? MAIN, tx.step);
    const branch = step ? undefined : openBranch(tx.branch ?? MAIN, this.stage.branches);
    const stage = this.on.stage(branch?.id ?? 0);
    if (tx.unchanged) this.checkUnchanged(tx.unchanged, tx.branch ?? MAIN);
    const planned = planTransaction(tx, stage, this.lookup(branch?.id ?? 0));
    const events = step
      ? [encodeBranchEvent(step)]
      : [
          ...(tx.events ?? []),
          ...planned.flatMap(({ doc, erase }) => (erase ? [eraseEvent(doc, erase.reason)] : [])),
        ];
    if (planned.length === 0 && events.length === 0) return this.#unchanged(tx, stage);
    if (isRotationTxId(tx.author, tx.clientTxId)) this.#checkRotation(tx);

    const seq = this.head.seq + 1;
    const parent = step?.type === "branch.create" ? this.cidAt(step.seq) : this.headOf(tx.branch ?? MAIN);
    const commit = this.signed({
      version: 1,
      db: this.identity.uid,
      branch: tx.branch ?? MAIN,
      seq,
      parents: parent ? [parent] : [],
      ...this.line(parent),
      time: Math.max(this.world.now(), this.head.time),
      author: tx.author,
      entries: stageWrites(planned, tx.author, seq, stage),
      events: events.map((event) => cidOf(CODEC_RAW, event)),
      ...(tx.message === undefined ? {} : { message: tx.message }),
    });
    const bytes = encodeCommit(commit);
    const digest = blake3(bytes);
    const cid = cidFromDigest(CODEC_DAG_CBOR, digest);
    const { body, blocks } = writeRecord({
      digest,
      commit: bytes,
      blocks: [...planned.flatMap((write) => write.fresh.map((change) => change.bytes)), ...events],
      clientTxId: tx.clientTxId,
    });
    this.stage.addresses.add(prefixOf(toHex(digest)), seq);
    for (const event of commit.events) this.stage.addresses.add(prefixOf(toHex(cidDigest(event))), seq);
    if (tx.clientTxId !== "") this.stage.addReceipt(tx.author, tx.clientTxId, seq);
    if (isRotationTxId(tx.author, tx.clientTxId)) this.signer = undefined;
    const stored = { cid, bytes, commit, blocks, clientTxId: tx.clientTxId };
    stageFacts(stored, this.stage);
    this.keep(stored, body, { step });
    return { cid, seq, time: commit.time, entries: commit.entries, duplicate: false, bytes: body.length };
  }

  /** Throws SQL_CONFLICT when a commit on the branch changed what `unchanged` names. */
  checkUnchanged(unchanged: Unchanged, branch: string): void {
    const { branches } = this.stage;
    const { id } = openBranch(branch, branches);
    checkUnchanged(unchanged, {
      branch,
      head: this.head.seq,
      stage: this.on.stage(id),
      touched: (seq) => {
        const own = this.own.get(seq);
        return own ? touchedBy(own) : this.recent.of(seq, (at) => this.commitAt(at));
      },
    });
  }

  #step(name: string, step: BranchStep): BranchEvent {
    return planStep(name, step, this.stage.branches, this.head.seq, this.before().branchAt);
  }

  /** That id is what a key's end is found by, so nothing else may have it. Throws KEY_NOT_CURRENT. */
  #checkRotation(tx: Transaction): void {
    const signer = this.signers.find(({ did }) => !this.retired(did));
    if (signer && tx.events?.length === 1 && tx.clientTxId === rotationTxId(signer.did)) return;
    throw new SkaldError(
      "KEY_NOT_CURRENT",
      `The db ${this.identity.dbId} is not signed by the key to retire.`,
    );
  }

  #repeat(tx: Transaction, seq: number): Added {
    const stored = this.commitAt(seq);
    const merged = mergedIn(stored).find(
      (candidate) => candidate.clientTxId === tx.clientTxId && candidate.commit.author === tx.author,
    );
    const { commit, cid, clientTxId } = merged ?? stored;
    if (commit.author !== tx.author || clientTxId !== tx.clientTxId) {
      throw new SkaldError(
        "DERIVED_DAMAGED",
        `Commit ${seq} is not that of ${tx.clientTxId}, as the catalog says.`,
      );
    }
    const docs = new Set(tx.writes.map((write) => write.doc));
    if (commit.branch !== (tx.branch ?? MAIN) || (tx.step !== undefined) !== makesOrEnds(stored)) {
      throw new SkaldError("TX_ID_REUSED", `The client_tx_id ${tx.clientTxId} was used for something else.`, {
        details: { seq, commit: cidToString(cid) },
      });
    }
    if (!commit.entries.every((entry) => docs.has(entry.doc))) {
      throw new SkaldError(
        "TX_ID_REUSED",
        `The client_tx_id ${tx.clientTxId} was used for other documents.`,
        {
          details: { seq, commit: cidToString(cid) },
        },
      );
    }
    return { cid, seq, time: commit.time, entries: commit.entries, duplicate: true, bytes: 0 };
  }

  /** All of it is here already: the answer names the newest commit of the documents written. */
  #unchanged(tx: Transaction, stage: DocStage): Added {
    const states = tx.writes.map((write) => ({ doc: write.doc, state: stage.doc(write.doc) }));
    const seq = Math.max(0, ...states.map(({ state }) => state?.last ?? 0));
    const entries = states.map(({ doc, state }) => ({ doc, heads: state ? headsOf(state) : [] }));
    if (seq === 0) {
      const { seq: at, cid, time } = this.head;
      return { cid: cid ?? new Uint8Array(0), seq: at, time, entries, duplicate: true, bytes: 0 };
    }
    const { cid, commit } = this.commitAt(seq);
    return { cid, seq, time: commit.time, entries, duplicate: true, bytes: 0 };
  }
}

/** Whether a commit makes or ends a branch; one of a merge is not looked into. */
function makesOrEnds(stored: StoredCommit): boolean {
  return branchEventIn(stored) !== undefined;
}
