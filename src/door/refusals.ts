import { catalogue } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import { headerRefs, rateHeaders } from './openapi-parts.ts';
import type { Answer, MediaType } from './openapi-parts.ts';
import { errorBody } from './reply.ts';
import { ref } from './schemas.ts';

/** The document's answers to what is refused: one response of each status, with its codes; equal ones stand in the document once. */
export interface Refusals {
  of(codes: readonly ErrorCode[], asked: Asked): Record<string, Answer>;
  /** One that no operation answers, but the door does. */
  named(code: ErrorCode, name: string): void;
  responses(): Record<string, Answer>;
}

interface Asked {
  challenges: readonly ('Basic' | 'Bearer')[];
  /** Whether the key's rate was asked before. */
  rates: boolean;
}

const requestId = '5d0c1f3e-8a52-4d8a-9a3e-0d6f8e1b2c47';

/** What comes with a status, besides the request's id. */
const headersOf: Readonly<Record<number, Parameters<typeof headerRefs>>> = { 401: ['WWW-Authenticate'], 405: ['Allow'], 429: ['Retry-After'], 503: ['Retry-After'] };

/** What can only be known after the rate was asked. */
const ratedStatuses: ReadonlySet<number> = new Set([400, 403, 409, 422, 429, 500, 503]);

export function createRefusals(): Refusals {
  const responses: Record<string, Answer> = {};
  const names = new Map<string, string>();

  const response = (status: number, codes: readonly ErrorCode[], { challenges, rates }: Asked): Answer => {
    const media: MediaType = {
      schema: { ...ref('ErrorBody'), properties: { code: { enum: codes } } },
      examples: Object.fromEntries(codes.map(code => [code, { value: errorBody(code, catalogue[code].meaning, requestId) }])),
    };
    return { description: `${codes.map(code => `\`${code}\`: ${catalogue[code].meaning}`).join('; ')}${status === 401 ? `. Asks for ${challenges.join(' or ')}` : ''}`, headers: headerRefs('X-Request-Id', ...(headersOf[status] ?? []), ...(rates && ratedStatuses.has(status) ? rateHeaders : [])), content: { 'application/json': media } };
  };
  return {
    of(codes, asked) {
      const byStatus = new Map<number, Set<ErrorCode>>();
      for (const code of codes) {
        const status = catalogue[code].status ?? 500;
        byStatus.set(status, (byStatus.get(status) ?? new Set()).add(code));
      }
      return Object.fromEntries([...byStatus].sort(([a], [b]) => a - b).map(([status, set]) => {
        const made = response(status, [...set].sort(), asked);
        const text = JSON.stringify(made);
        let name = names.get(text);
        if (name === undefined) {
          const of = Object.keys(responses).filter(other => other.startsWith(`Refused${status}`)).length;
          name = `Refused${status}${of === 0 ? '' : `-${of + 1}`}`;
          names.set(text, name);
          responses[name] = made;
        }
        return [status, { $ref: `#/components/responses/${name}` }];
      }));
    },
    named(code, name) {
      responses[name] = response(catalogue[code].status ?? 500, [code], { challenges: [], rates: false });
    },
    responses: () => responses,
  };
}
