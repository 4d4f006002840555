import { AvroFault } from './avro-bytes.ts';

/* Avro's logical types (specification 1.12) as JSON text. avro-json.ts has the table. */

const minDay = -719_162n; // 0001-01-01
const maxDay = 2_932_896n; // 9999-12-31
const dayMs = 86_400_000n;

/** More bytes than any real decimal has; turning very many into digits takes long. */
const maxDecimalBytes = 128;

export function dateText(days: number): string {
  const day = BigInt(days);
  return day < minDay || day > maxDay ? String(days) : `"${new Date(days * Number(dayMs)).toISOString().slice(0, 10)}"`;
}

/** `value` counts units of 10^-digits seconds since midnight. */
export function timeText(value: bigint, digits: 3 | 6): string {
  const perMs = 10n ** BigInt(digits - 3);
  if (value < 0n || value >= dayMs * perMs) return String(value);
  return `"${new Date(Number(value / perMs)).toISOString().slice(11, 23)}${digits === 3 ? '' : String(value % perMs).padStart(digits - 3, '0')}"`;
}

/** `value` counts units of 10^-digits seconds since 1970. */
export function timestampText(value: bigint, { digits, local }: { digits: 3 | 6 | 9; local: boolean }): string {
  const perMs = 10n ** BigInt(digits - 3);
  const below = ((value % perMs) + perMs) % perMs;
  const ms = (value - below) / perMs;
  if (ms < minDay * dayMs || ms >= (maxDay + 1n) * dayMs) return String(value);
  return `"${new Date(Number(ms)).toISOString().slice(0, 23)}${digits === 3 ? '' : String(below).padStart(digits - 3, '0')}${local ? '' : 'Z'}"`;
}

/** Two's complement, big-endian, without its point. */
export function decimalText(bytes: Buffer, scale: number): string {
  if (bytes.length === 0 || bytes.length > maxDecimalBytes) throw new AvroFault(`a decimal has 1 to ${maxDecimalBytes} bytes, not ${bytes.length}`);
  const unscaled = BigInt.asIntN(bytes.length * 8, BigInt(`0x${bytes.toString('hex')}`));
  if (scale === 0) return String(unscaled);
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0');
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

export function uuidText(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `"${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}"`;
}

/** Months, days and milliseconds, each 32 bits, little-endian. */
export function durationText(bytes: Buffer): string {
  const ms = bytes.readUInt32LE(8);
  return `"P${bytes.readUInt32LE(0)}M${bytes.readUInt32LE(4)}DT${Math.floor(ms / 1_000)}.${String(ms % 1_000).padStart(3, '0')}S"`;
}
