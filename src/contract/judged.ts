import { contractName, violationActions, violationKinds } from '../event/canonical.ts';
import type { CanonicalEvent, Judgement, Violation } from '../event/canonical.ts';
import type { LetterJudgement } from '../event/dead-letter.ts';
import { eventId } from '../event/identity.ts';
import { boundedViolations, maxViolations } from './violations.ts';

/*
 * What a contract said of an event, on the record that carries it:
 *
 *   contract-version   the version that judged it; 0: that it has no contract is what is wrong. Not there: none was for it
 *   violations         JSON, [{ kind, pointer, message }, …]; not there: none
 *
 * Only what the door wrote is read back: all else is judged by whoever reads it.
 */
const versionHeader = 'contract-version';
const violationsHeader = 'violations';

/** Whether a judgement keeps an event out of `events`. */
export function isRefused(judged: Judgement | undefined): judged is Judgement {
  return judged !== undefined && judged.action !== 'flag' && judged.violations.length > 0;
}

/** Notes in the event what its contract said, beside what its dialect did. */
export function noteJudgement(event: CanonicalEvent, judgement: Judgement): void {
  if (judgement.violations.length === 0 && event.judged === undefined) {
    event.judged = judgement;
    return;
  }
  const before = event.judged?.violations ?? [];
  const isKnown = ({ kind }: Violation): boolean => kind === 'unplanned_event' && before.some(known => known.kind === kind);
  const added = judgement.violations.filter(violation => !isKnown(violation));
  event.judged = before.length === 0 ? judgement : { ...judgement, violations: boundedViolations([...before, ...added]) };
  for (const { kind, pointer } of added) {
    const text = kind === 'unplanned_event' ? kind : `${kind}:${pointer}`;
    if (!event.violations.includes(text)) event.violations.push(text);
  }
}

export function judgementHeaders({ judged }: CanonicalEvent): Record<string, string> {
  if (judged === undefined) return {};
  return { [versionHeader]: String(judged.version), ...(judged.violations.length > 0 && { [violationsHeader]: JSON.stringify(judged.violations) }) };
}

/** What the door's headers say; an event that it has accepted is flagged at most. */
export function readJudgement(header: (name: string) => string | null): Judgement | null {
  const version = header(versionHeader);
  if (version === null) return null;
  const violations = header(violationsHeader);
  return { version: versionOf(version), action: 'flag', violations: violations === null ? [] : parseViolations(violations) };
}

/** What a dead letter says of the event that was refused. */
export function letterJudgement(event: CanonicalEvent, judged: Judgement): LetterJudgement {
  return { ...judged, eventId: eventId(event.tenant, event.messageId), type: event.type, event: contractName(event) };
}

/** Back from JSON, that anybody may have written; null where it is no such thing. */
export function readLetterJudgement(text: string): LetterJudgement | null {
  const said = parse(text);
  if (typeof said !== 'object' || said === null) return null;
  const { version, action, eventId: id, type, event, violations } = said as Record<string, unknown>;
  const known = violationActions.find(name => name === action);
  if (known === undefined || typeof id !== 'string' || !/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id) || typeof type !== 'string' || typeof event !== 'string') return null;
  return { version: versionOf(String(version)), action: known, eventId: id, type: type.toWellFormed(), event: event.toWellFormed(), violations: violationsIn(violations) };
}

/** What a person reads in a dead letter or a log: the first few. */
export function violationsText(violations: readonly Violation[]): string {
  const shown = violations.slice(0, 5).map(({ pointer, message }) => `${pointer} ${message}`.trim());
  return `${shown.join('; ')}${violations.length > shown.length ? `; and ${violations.length - shown.length} more` : ''}`;
}

function parseViolations(text: string): Violation[] {
  return violationsIn(parse(text));
}

function violationsIn(said: unknown): Violation[] {
  if (!Array.isArray(said)) return [];
  return said.slice(0, maxViolations).flatMap((each: unknown): Violation[] => {
    const { kind, pointer, message } = (typeof each === 'object' && each !== null ? each : {}) as Record<string, unknown>;
    const known = violationKinds.find(name => name === kind);
    return known === undefined || typeof pointer !== 'string' || typeof message !== 'string' ? [] : [{ kind: known, pointer: pointer.toWellFormed(), message: message.toWellFormed() }];
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** As the table's column holds it. */
function versionOf(text: string): number {
  return /^\d{1,10}$/.test(text) && Number(text) < 2 ** 32 ? Number(text) : 0;
}
