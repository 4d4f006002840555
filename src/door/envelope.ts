import { faultMessages } from '../event/fields.ts';
import type { Scanned } from '../event/fields.ts';
import { batchSpans, findFault, isDeeperThan, maxDepth, smells } from '../event/json-text.ts';
import { maxBodyBytes } from './body.ts';
import type { JsonBody } from './body.ts';
import type { BatchDefaults, DialectRoute, Refused } from './dialect.ts';

/** Longest context or integrations that a batch may give to all of its events, in UTF-16 units. */
const maxDefaultsLength = 32_768;

/** An event as it was sent: parsed, its range of the body's text, and what is known of that. */
export interface SentEvent {
  value: unknown;
  text: string;
  scanned: Scanned;
}

export interface Envelope {
  ok: true;
  events: SentEvent[];
  defaults?: BatchDefaults;
}

/** The events of a body, of a batch or alone. */
export function openEnvelope({ value, text, plain }: JsonBody, { batch }: DialectRoute): Envelope | ({ ok: false } & Refused) {
  if (batch === null) return { ok: true, events: [{ value, text, scanned: { plain, spans: null } }] };
  const { member, maxEvents, withDefaults } = batch;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { ok: false, code: 'not_an_object', message: `the body is a JSON object with "${member}"` };
  const fields = value as Record<string, unknown>;
  const values: unknown = fields[member];
  if (!Array.isArray(values)) return { ok: false, code: 'batch_missing', message: `"${member}" is an array of events` };
  if (values.length > maxEvents) return { ok: false, code: 'batch_too_large', message: `a batch has at most ${maxEvents} events; this one has ${values.length}` };
  const { members, elements } = batchSpans(text, member, maxEvents);
  const events = elements.map((element, index): SentEvent => ({ value: values[index] as unknown, text: element.text, scanned: { plain, spans: element.spans } }));
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
    if (plain) continue;
    if (isDeeperThan(sharedText, maxDepth)) return { ok: false, code: 'too_deep', message: faultMessages.too_deep };
    const fault = smells(sharedText) ? findFault(fields[name], `/${name}`) : null;
    if (fault !== null) return { ok: false, code: fault.code, message: `${faultMessages[fault.code]}, at ${fault.pointer}` };
  }
  // Else a body of 300 bytes, inflated, asks Kafka to take 160 MB.
  const copied = values.length * ((shared('context')?.length ?? 0) + (shared('integrations')?.length ?? 0));
  if (copied > maxBodyBytes) return { ok: false, code: 'field_invalid', message: `context and integrations of a batch, copied into its ${values.length} events, have at most ${maxBodyBytes} characters together` };
  return { ok: true, events, defaults: { context: shared('context'), integrations: shared('integrations'), sentAt: fields['sentAt'] } };
}
