import type { FastifyRequest } from 'fastify';
import type { ErrorCode } from '../errors.ts';

/** What counts and the log say of a request. All of it is bounded: names of dialects, ids of configured keys, codes. */
export interface About {
  dialect: string;
  /** The id of its write key; no id has brackets. */
  key: string;
  /** Of the answer, if it is an error. */
  code: ErrorCode | null;
  /** Whether its events were told of already, each with its code. */
  told: boolean;
}

export const noKey = '(none)';
export const unknownKey = '(unknown)';

/** What is no request yet. */
export const noRequest: About = { dialect: '(none)', key: noKey, code: null, told: false };

const about = Symbol('about');

/** What is known of a request so far; whoever finds out more writes it here. */
export function aboutOf(request: FastifyRequest & { [about]?: About }): About {
  return (request[about] ??= { ...noRequest });
}
