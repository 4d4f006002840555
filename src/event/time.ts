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
  if (!form.test(text)) return null;
  // Up to the minute everything has its place; then come seconds, their fraction, and the zone.
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 7);
  const day = digits(text, 8, 10);
  if (year === 0 || day > daysInMonth(year, month)) return null;
  let at = 16;
  const second = text[at] === ':' ? digits(text, at + 1, (at += 3)) : 0;
  let milliseconds = 0;
  if (text[at] === '.' || text[at] === ',') {
    const start = ++at;
    while (isDigit(text, at)) at++;
    milliseconds = at - start < 3 ? digits(text, start, at) * 10 ** (3 - at + start) : digits(text, start, start + 3);
  }
  const time = utc(year, month, day, digits(text, 11, 13), digits(text, 14, 16), second, milliseconds);
  const sign = text[at];
  if (sign !== '+' && sign !== '-') return time;
  const minutes = text.length - at > 3 ? digits(text, text.length - 2, text.length) : 0;
  const offsetMs = (digits(text, at + 1, at + 3) * 60 + minutes) * 60_000;
  return sign === '+' ? time - offsetMs : time + offsetMs;
}

function utc(year: number, month: number, day: number, hour: number, minute: number, second: number, millisecond: number): number {
  if (year > 99) return Date.UTC(year, month - 1, day, hour, minute, second, millisecond);
  // Date.UTC reads years 0 to 99 as 1900 to 1999; 2000 is a leap year, so the day above always existed.
  const date = new Date(Date.UTC(2000, month - 1, day, hour, minute, second, millisecond));
  return date.setUTCFullYear(year, month - 1, day);
}

function isDigit(text: string, index: number): boolean {
  const code = text.charCodeAt(index);
  return code >= 0x30 && code <= 0x39;
}

function digits(text: string, start: number, end: number): number {
  let number = 0;
  for (let index = start; index < end; index++) number = number * 10 + text.charCodeAt(index) - 0x30;
  return number;
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
  const stored = Math.trunc(storedTimeMs(ms));
  const day = Math.floor(stored / msPerDay);
  const inDay = stored - day * msPerDay;
  const second = Math.floor(inDay / 1_000);
  return `${dayText(day)} ${twoDigits[Math.floor(second / 3_600)]}:${twoDigits[Math.floor(second / 60) % 60]}:${twoDigits[second % 60]}.${String(inDay % 1_000).padStart(3, '0')}`;
}

const msPerDay = 86_400_000;
const twoDigits = Array.from({ length: 60 }, (_, number) => String(number).padStart(2, '0'));
/** Most events of an hour are of few days, and a Date takes a microsecond. */
const dayTexts = new Map<number, string>();
const maxDayTexts = 1_000;

function dayText(day: number): string {
  const known = dayTexts.get(day);
  if (known !== undefined) return known;
  if (dayTexts.size >= maxDayTexts) dayTexts.clear();
  const text = new Date(day * msPerDay).toISOString().slice(0, 10);
  dayTexts.set(day, text);
  return text;
}
