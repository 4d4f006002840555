import { MillraceError, asError } from '../errors.ts';
import type { Condition } from './filter.ts';
import type { LetterHead, Letters, StoredLetter } from './letters.ts';
import { applyPatch } from './patch.ts';
import type { Draft, Patch } from './patch.ts';
import { draftOf, recordOf } from './republish.ts';
import type { Republished } from './republish.ts';

/*
 * What happens to a letter (docs/adr/0004-redrive.md):
 *
 *   state                 step                                     a crash here
 *   ------------------    -------------------------------------    -----------------------------------------------
 *   open                  patch, publish with its message id       open: published again, the sink drops the second
 *   published             status = redriven, if it still is as     open, or redriven: both are true
 *                         it was read
 *   redriven, and it      the sink, for the record that failed:    the sink's batch comes again
 *   fails again           status = open, attempts grows
 *
 * The mark and the sink's reopening may come in any order: a mark holds the number of attempts that it has seen.
 */

/** Publishes; the error of each record, or null. */
export type PublishRecords = (records: readonly Republished[]) => Promise<(MillraceError | null)[]>;

/** Says of each record why it would become a dead letter again; null where it would be an event. */
export type JudgeRecords = (records: readonly Republished[]) => Promise<({ code: string; detail: string } | null)[]>;

export type Mode = { kind: 'redrive'; publish: PublishRecords } | { kind: 'dismiss' } | { kind: 'dry-run'; judge: JudgeRecords };

export interface RunOptions {
  letters: Letters;
  condition: Condition;
  mode: Mode;
  patch: Patch | null;
  /** Where letters go that never stood on a topic. */
  eventsTopic: string;
  limit: number;
  onProgress: (tally: Tally) => void;
  /** Aborted: what is under way is finished, and nothing more begun. */
  signal: AbortSignal;
}

export interface Tally {
  /** Letters looked at. */
  seen: number;
  /** Published and marked, or dismissed; of a dry run, what would be. */
  done: number;
  skipped: number;
  failed: number;
  /** Of a dry run: those that would be dead letters again, by code. */
  again: Map<string, number>;
  /** The first few that failed. */
  failures: { id: string; reason: string }[];
  /** What ended the run before its end. */
  fault: MillraceError | null;
  interrupted: boolean;
}

/** What would be published for a letter, or why not. */
export type Prepared = { kind: 'publish'; record: Republished; before: Draft } | { kind: 'skip' } | { kind: 'failed'; reason: string };

const pageLetters = 500;
const chunkBytes = 16 * 1024 * 1024;
/** An UPDATE costs most of a second for 500 letters, and two or three times that for 2,000. */
const markLetters = 2_000;
const maxFailures = 20;

export async function prepare(letter: StoredLetter, patch: Patch | null, eventsTopic: string): Promise<Prepared> {
  const topic = letter.place?.topic ?? eventsTopic;
  const before = draftOf(letter);
  if (patch === null) {
    if (letter.tombstone) return { kind: 'failed', reason: 'a tombstone has no value to publish; a patch may give it one, or --dismiss it' };
    return { kind: 'publish', record: recordOf(letter, before, topic), before };
  }
  const patched = await applyPatch(patch, { id: letter.id, tenant: letter.tenant, code: letter.code, detail: letter.detail, topic, messageId: letter.messageId }, before);
  if (patched.kind !== 'publish') return patched;
  if (letter.tombstone && patched.draft.payload.length === 0) return { kind: 'failed', reason: 'a tombstone has no value to publish, and the patch gave it none' };
  return { kind: 'publish', record: recordOf(letter, patched.draft, topic), before };
}

/** Walks over the letters that match, in bounded memory. Faults of Kafka and ClickHouse end it and stand in the tally. */
export async function runRedrive({ letters, condition, mode, patch, eventsTopic, limit, onProgress, signal }: RunOptions): Promise<Tally> {
  const tally: Tally = { seen: 0, done: 0, skipped: 0, failed: 0, again: new Map(), failures: [], fault: null, interrupted: false };
  const fail = (id: string, reason: string): void => {
    tally.failed++;
    if (tally.failures.length < maxFailures) tally.failures.push({ id, reason });
  };
  let published: LetterHead[] = [];
  const markPublished = async (): Promise<void> => {
    if (published.length === 0) return;
    await letters.mark(published, mode.kind === 'dismiss' ? 'dismissed' : 'redriven');
    tally.done += published.length;
    published = [];
  };

  const take = async (heads: readonly LetterHead[]): Promise<void> => {
    if (mode.kind === 'dismiss') {
      published.push(...heads);
      return;
    }
    const ready: { head: LetterHead; record: Republished }[] = [];
    const headOf = new Map(heads.map(head => [head.id, head]));
    for (const letter of await letters.load(heads)) {
      const head = headOf.get(letter.id);
      if (head === undefined) continue;
      const prepared = await prepare(letter, patch, eventsTopic);
      if (prepared.kind === 'skip') tally.skipped++;
      else if (prepared.kind === 'failed') fail(letter.id, prepared.reason);
      else ready.push({ head, record: prepared.record });
    }
    if (mode.kind === 'dry-run') {
      for (const verdict of await mode.judge(ready.map(({ record }) => record))) {
        if (verdict !== null) tally.again.set(verdict.code, (tally.again.get(verdict.code) ?? 0) + 1);
      }
      tally.done += ready.length;
      return;
    }
    const errors = await mode.publish(ready.map(({ record }) => record));
    ready.forEach(({ head }, index) => {
      const error = errors[index] ?? null;
      if (error === null) published.push(head);
      else {
        fail(head.id, error.message);
        if (error.retryable) tally.fault ??= error;
      }
    });
  };

  let last: LetterHead | null = null;
  try {
    while (tally.seen < limit && tally.fault === null && !signal.aborted) {
      const page: LetterHead[] = await letters.page(condition, last, Math.min(pageLetters, limit - tally.seen));
      for (const chunk of chunksOf(page)) {
        if (signal.aborted || tally.fault !== null) break;
        await take(chunk);
        tally.seen += chunk.length;
        last = chunk.at(-1) ?? last;
        if (published.length >= markLetters) await markPublished();
        onProgress(tally);
      }
      if (page.length === 0) break;
    }
  } catch (thrown) {
    tally.fault ??= thrown instanceof MillraceError ? thrown : new MillraceError('internal', asError(thrown).message, { cause: thrown });
  }
  try {
    await markPublished();
  } catch (thrown) {
    // They are published and still open: another run publishes them once more, which adds no row.
    for (const { id } of published) fail(id, 'published, but not marked as redriven');
    tally.fault ??= thrown instanceof MillraceError ? thrown : new MillraceError('internal', asError(thrown).message, { cause: thrown });
  }
  tally.interrupted = signal.aborted;
  return tally;
}

/** Cut so that the payloads of a chunk fit into memory several times over. */
function chunksOf(page: readonly LetterHead[]): LetterHead[][] {
  const chunks: LetterHead[][] = [];
  let bytes = Infinity;
  for (const head of page) {
    bytes += head.bytes;
    if (bytes > chunkBytes) {
      chunks.push([]);
      bytes = head.bytes;
    }
    chunks.at(-1)?.push(head);
  }
  return chunks;
}
