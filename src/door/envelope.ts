import { faultMessages } from '../event/fields.ts';
import { elementSpans, findFault, isDeeperThan, maxDepth, memberSpans, smells } from '../event/json-text.ts';
import { maxBodyBytes } from './body.ts';
import type { BatchDefaults, DialectRoute, Refused } from './dialect.ts';

/** Longest context or integrations that a batch may give to all of its events, in UTF-16 units. */
const maxDefaultsLength = 32_768;

export interface Envelope {
  ok: true;
  /** Each event, and its range of the body's text. */
  events: { value: unknown; text: string }[];
  defaults?: BatchDefaults;
}

/** The events of a body, of a batch or alone. */
export function openEnvelope(value: unknown, text: string, { batch }: DialectRoute): Envelope | ({ ok: false } & Refused) {
  if (batch === null) return { ok: true, events: [{ value, text }] };
  const { member, maxEvents, withDefaults } = batch;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { ok: false, code: 'not_an_object', message: `the body is a JSON object with "${member}"` };
  const fields = value as Record<string, unknown>;
  const values: unknown = fields[member];
  const members = memberSpans(text, 0);
  const span = members.get(member);
  if (!Array.isArray(values) || span === undefined) return { ok: false, code: 'batch_missing', message: `"${member}" is an array of events` };
  if (values.length > maxEvents) return { ok: false, code: 'batch_too_large', message: `a batch has at most ${maxEvents} events; this one has ${values.length}` };
  const events = elementSpans(text, span[0]).map(([start, end], index) => ({ value: values[index] as unknown, text: text.slice(start, end) }));
  if (!withDefaults) return { ok: true, events };

  const shared = (name: 'context' | 'integrations'): string | null => {
    const found = members.get(name);
    return found === undefined || fields[name] === null ? null : text.slice(found[0], found[1]);
  };
  for (const name of ['context', 'integrations'] as const) {
    const sharedText = shared(name);
    if (sharedText === null) continue;
    if (!sharedText.startsWith('{')) return { ok: false, code: 'field_invalid', message: `${name} of a batch is an object` };
    // It is copied into each of the events.
    if (sharedText.length > maxDefaultsLength) return { ok: false, code: 'field_invalid', message: `${name} of a batch has at most ${maxDefaultsLength} characters` };
    if (isDeeperThan(sharedText, maxDepth)) return { ok: false, code: 'too_deep', message: faultMessages.too_deep };
    const fault = smells(sharedText) ? findFault(fields[name], `/${name}`) : null;
    if (fault !== null) return { ok: false, code: fault.code, message: `${faultMessages[fault.code]}, at ${fault.pointer}` };
  }
  // Else a body of 300 bytes, inflated, asks Kafka to take 160 MB.
  const copied = values.length * ((shared('context')?.length ?? 0) + (shared('integrations')?.length ?? 0));
  if (copied > maxBodyBytes) return { ok: false, code: 'field_invalid', message: `context and integrations of a batch, copied into its ${values.length} events, have at most ${maxBodyBytes} characters together` };
  return { ok: true, events, defaults: { context: shared('context'), integrations: shared('integrations'), sentAt: fields['sentAt'] } };
}
