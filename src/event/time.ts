/**
 * Times as events carry them: RFC 3339 date-times, and ISO 8601's variants with a comma or no colon in the offset.
 */

const form =
  /^(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:[.,](\d{1,9}))?)?(?:([Zz])|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)$/;

/** The form of a time, as a JSON Schema says it; that the month has the day, and that there is such a year, it leaves open. */
export const timePattern = form.source;

/**
 * Milliseconds since the epoch, or null where the text is no date-time with a zone, or no real one:
 * 30 February, hour 24, a leap second, year 0000. Digits below the millisecond are cut off.
 */
export function parseTime(text: string): number | null {
  const parts = form.exec(text);
  if (parts === null) return null;
  const year = Number(parts[1]);
  const month = Number(parts[2]);
  const day = Number(parts[3]);
  const hour = Number(parts[4]);
  const minute = Number(parts[5]);
  const second = Number(parts[6] ?? 0);
  if (year === 0 || day > daysInMonth(year, month)) return null;
  const milliseconds = parts[7] === undefined ? 0 : Number(parts[7].padEnd(3, '0').slice(0, 3));
  let time = Date.UTC(2000, month - 1, day, hour, minute, second, milliseconds);
  // Date.UTC reads years 0 to 99 as 1900 to 1999; 2000 is a leap year, so the day above always existed.
  const date = new Date(time);
  date.setUTCFullYear(year, month - 1, day);
  time = date.getTime();
  if (parts[9] !== undefined) {
    const offsetMs = (Number(parts[10]) * 60 + Number(parts[11] ?? 0)) * 60_000;
    time += parts[9] === '+' ? -offsetMs : offsetMs;
  }
  return time;
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

/** What a DateTime64 holds: 1900-01-01 to 2299-12-31. */
const minTimeMs = Date.UTC(1900, 0, 1);
const maxTimeMs = Date.UTC(2300, 0, 1) - 1;

/** The time that a DateTime64 column holds for this one: the nearest that it can. */
export function storedTimeMs(ms: number): number {
  if (Number.isNaN(ms)) return 0;
  return Math.min(maxTimeMs, Math.max(minTimeMs, ms));
}

/** `events` is parted by the month of receipt: a batch may not make more parts than an insert has time for. */
const minReceiptMs = Date.UTC(2015, 0, 1);
const maxReceiptMs = Date.UTC(2050, 0, 1) - 1;

/** The receipt that `events` holds for this one, which comes from a direct producer's record: the nearest that is plausible, the same at every reading. */
export function storedReceiptMs(ms: number): number {
  if (Number.isNaN(ms)) return minReceiptMs;
  return Math.min(maxReceiptMs, Math.max(minReceiptMs, ms));
}

/** A time as ClickHouse reads it for a DateTime64(3, 'UTC'); what the column cannot hold becomes the nearest that it can. */
export function clickHouseTime(ms: number): string {
  const iso = new Date(storedTimeMs(ms)).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 23)}`;
}
