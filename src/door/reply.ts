import type { FastifyReply, FastifyRequest } from 'fastify';
import { catalogue } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { Violation } from '../event/canonical.ts';
import { aboutOf } from './about.ts';

/** What is wrong with one event of a batch. */
export interface EventError {
  index: number;
  code: ErrorCode;
  message: string;
  /** JSON pointer into the event. */
  pointer?: string;
  message_id?: string;
  /** Where it breaks its contract. */
  violations?: readonly Violation[];
}

/** The error body of every path. `code` and `message` stand at the top too, where some SDKs read them. */
export interface ErrorBody {
  error: { code: ErrorCode; message: string; request_id: string; details?: unknown };
  code: ErrorCode;
  message: string;
  success: false;
}

export function errorBody(code: ErrorCode, message: string, requestId: string, details?: unknown): ErrorBody {
  return {
    error: { code, message, request_id: requestId, ...(details !== undefined && { details }) },
    code,
    message,
    success: false,
  };
}

/** Answers with the code's own status; 401 says how to authenticate, 503 when to come back. */
export function sendError(request: FastifyRequest, reply: FastifyReply, code: ErrorCode, message: string, details?: unknown, challenges: readonly ('Basic' | 'Bearer')[] = ['Basic']): FastifyReply {
  const status = catalogue[code].status ?? 500;
  aboutOf(request).code = code;
  if (status === 401) reply.header('www-authenticate', challenges.map(scheme => `${scheme} realm="millrace"${scheme === 'Basic' ? ', charset="UTF-8"' : ''}`).join(', '));
  if (status === 503) reply.header('retry-after', String(1 + Math.floor(Math.random() * 3)));
  return reply.code(status).send(errorBody(code, message, request.id, details));
}
