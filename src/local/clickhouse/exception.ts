import { asError } from '../../errors.ts';

/** An error as ClickHouse states it: its number, its name, its text. Never a fault of ours unless the number is 49. */
export class Exception extends Error {
  readonly code: number;
  readonly type: string;

  constructor(code: number, type: string, message: string) {
    super(message);
    this.name = 'Exception';
    this.code = code;
    this.type = type;
  }
}

/** `Code: 60. DB::Exception: text. (UNKNOWN_TABLE)`; the engine repeats head and tail when it passes an error on. */
const shape = /^(?:Code: (\d+)\. DB::Exception: )+([\s\S]*?)(?:\s*\(([A-Z][A-Z0-9_]{2,})\)(?: \(version [^)]*\))?\.?)+\s*$/;

/** Anything that the addon throws, as an `Exception`; what doesn't look like one of ClickHouse's is 49 LOGICAL_ERROR. */
export function toException(thrown: unknown): Exception {
  if (thrown instanceof Exception) return thrown;
  const text = asError(thrown).message;
  const match = shape.exec(text);
  if (match === null) return new Exception(49, 'LOGICAL_ERROR', text);
  return new Exception(Number(match[1]), match[3] ?? 'UNKNOWN', (match[2] ?? '').trim());
}

/** The body of an error answer, in the words of the server: clients take code and name from it. */
export function exceptionBody(exception: Exception, version: string): string {
  return `Code: ${exception.code}. DB::Exception: ${exception.message} (${exception.type}) (version ${version} (official build))\n`;
}

const statuses: [number, readonly number[]][] = [
  [400, [6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676]],
  [401, [194]],
  [403, [192, 193, 497, 512, 516]],
  [404, [46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 372, 511]],
  [408, [159]],
  [411, [381]],
  [413, [229, 307]],
  [415, [779]],
  [501, [48]],
  [503, [76, 209, 439]],
];
const statusOf = new Map(statuses.flatMap(([status, codes]) => codes.map((code) => [code, status] as const)));

/** HTTP status of an error number, as the server maps it (its exceptionCodeToHTTPStatus); 500 for all others. */
export function httpStatus(code: number): number {
  return statusOf.get(code) ?? 500;
}
