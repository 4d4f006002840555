import type { Contracts } from '../contract/contracts.ts';
import { isRefused, noteJudgement, violationsText } from '../contract/judged.ts';
import type { CanonicalEvent, ParsedObjects, Violation } from '../event/canonical.ts';
import type { DeadLetter } from '../event/dead-letter.ts';
import type { Accepted, AcceptEvents, SetAside } from './accept.ts';
import type { RefusedEvent } from './letters.ts';
import type { EventError } from './reply.ts';

/*
 * What becomes of an event that breaks its contract:
 *
 *   reject        422, in a batch the event's error; a dead letter, as many as the key may leave
 *   dead_letter   answered as accepted; a dead letter, as durable as an event, and nothing else
 *   flag          an event, with its violations
 */

/** All events of one answer may name so many violations; each letter has its own ones. */
const maxAnswered = 1_000;

/** Judges the events of one request, each once, and notes in them what their contract said. */
export function createJudge(contracts: Contracts): (event: CanonicalEvent, parsed?: ParsedObjects) => Omit<EventError, 'index'> | null {
  let left = maxAnswered;
  return (event, parsed) => {
    const judgement = contracts.judge(event, parsed);
    if (judgement === null) return null;
    noteJudgement(event, judgement);
    if (judgement.action !== 'reject' || judgement.violations.length === 0) return null;
    const named: readonly Violation[] = judgement.violations.slice(0, left);
    left -= named.length;
    return {
      code: 'contract_violation', message: violationsText(judgement.violations), message_id: event.messageId,
      ...(named[0] !== undefined && { pointer: named[0].pointer, violations: named }),
    };
  };
}

export interface Destinations {
  accept: AcceptEvents;
  setAside: SetAside;
}

/** Puts events on their topic, and aside what a contract keeps from it; the results in order. `letterOfEvent` makes the letter. */
export function deliver(events: readonly CanonicalEvent[], { accept, setAside }: Destinations, letterOfEvent: (refused: RefusedEvent) => DeadLetter, traceparent: string | null): Promise<Accepted[]> {
  if (events.length === 0) return Promise.resolve([]);
  const refused = events.map(({ judged }) => isRefused(judged));
  return refused.includes(true) ? deliverBoth(events, refused, { accept, setAside }, letterOfEvent, traceparent) : accept(events, traceparent);
}

async function deliverBoth(events: readonly CanonicalEvent[], refused: readonly boolean[], { accept, setAside }: Destinations, letterOfEvent: (refused: RefusedEvent) => DeadLetter, traceparent: string | null): Promise<Accepted[]> {
  const aside = events.filter((_event, at) => refused[at] === true);
  const others = events.filter((_event, at) => refused[at] === false);
  const letters = aside.map(event => letterOfEvent({ error: { code: 'contract_violation', message: violationsText(event.judged?.violations ?? []), message_id: event.messageId }, text: event.raw ?? '', event }));
  const [accepted, kept] = await Promise.all([others.length === 0 ? [] : accept(others, traceparent), setAside(letters)]);
  return refused.map((isAside): Accepted => (isAside ? kept.shift() : accepted.shift()) ?? { ok: false, retryable: true, message: 'the event was not accepted' });
}
