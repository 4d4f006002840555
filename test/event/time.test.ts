import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clickHouseTime, parseTime } from '../../src/event/time.ts';

test('RFC 3339 date-times, and ISO 8601 variants of them', () => {
  const cases: Record<string, string> = {
    '2025-03-15T14:30:00Z': '2025-03-15T14:30:00.000Z',
    '2025-03-15t14:30:00z': '2025-03-15T14:30:00.000Z',
    '2025-03-15 14:30:00Z': '2025-03-15T14:30:00.000Z',
    '2025-03-15T14:30Z': '2025-03-15T14:30:00.000Z',
    '2025-03-15T14:30:00.5Z': '2025-03-15T14:30:00.500Z',
    '2025-03-15T14:30:00,123456789Z': '2025-03-15T14:30:00.123Z',
    '2025-03-15T14:30:00+02:00': '2025-03-15T12:30:00.000Z',
    '2025-03-15T14:30:00-0530': '2025-03-15T20:00:00.000Z',
    '2025-03-15T23:30:00-01': '2025-03-16T00:30:00.000Z',
    '2024-02-29T00:00:00Z': '2024-02-29T00:00:00.000Z',
    '2000-02-29T00:00:00Z': '2000-02-29T00:00:00.000Z',
    '0001-01-01T00:00:00Z': '0001-01-01T00:00:00.000Z',
    '9999-12-31T23:59:59.999Z': '9999-12-31T23:59:59.999Z',
    '1969-12-31T23:59:59.999Z': '1969-12-31T23:59:59.999Z',
  };
  for (const [text, expected] of Object.entries(cases)) {
    const ms = parseTime(text);
    assert.equal(ms === null ? null : new Date(ms).toISOString(), expected, text);
  }
});

test('what is no date-time with a zone, or no real one', () => {
  const refused = [
    '', 'now', '2025-03-15', '2025-03-15T14:30:00', '2025-02-30T00:00:00Z', '2023-02-29T00:00:00Z', '1900-02-29T00:00:00Z', '2025-04-31T00:00:00Z',
    '2025-13-01T00:00:00Z', '2025-00-01T00:00:00Z', '2025-01-00T00:00:00Z', '2025-03-15T24:00:00Z', '2025-03-15T14:60:00Z', '2016-12-31T23:59:60Z',
    '0000-01-01T00:00:00Z', '10000-01-01T00:00:00Z', '+010000-01-01T00:00:00Z', '2025-03-15T14:30:00.Z', '2025-03-15T14:30:00.1234567890Z',
    '2025-03-15T14:30:00+24:00', '2025-03-15T14:30:00+02:60', '1742049000', ' 2025-03-15T14:30:00Z', '2025-03-15T14:30:00Z\n',
  ];
  for (const text of refused) assert.equal(parseTime(text), null, text);
});

test('a time for a column is the nearest that it holds', () => {
  assert.equal(clickHouseTime(Date.parse('2025-03-15T14:30:00.123Z')), '2025-03-15 14:30:00.123');
  for (const ms of [-9e18, -Infinity, Date.parse('0001-01-01T00:00:00Z')]) assert.equal(clickHouseTime(ms), '1900-01-01 00:00:00.000');
  for (const ms of [9e18, Infinity, Number.MAX_SAFE_INTEGER]) assert.equal(clickHouseTime(ms), '2299-12-31 23:59:59.999');
  assert.equal(clickHouseTime(NaN), '1970-01-01 00:00:00.000');
});

test('a time for ClickHouse is the ISO text of the nearest that its column holds', () => {
  const min = Date.UTC(1900, 0, 1);
  const max = Date.UTC(2300, 0, 1) - 1;
  const times = [min, max, 0, -1, 1, 999, 1_000, -86_400_000, -86_400_001, Date.UTC(2024, 1, 29, 23, 59, 59, 999), 1_750_000_000_123.7, -0.5, -1.5, ...Array.from({ length: 3_000 }, (_, n) => min + Math.floor(((max - min) * (n * 7_919 % 3_000)) / 3_000) + n)];
  for (const ms of times) {
    const iso = new Date(ms).toISOString();
    assert.equal(clickHouseTime(ms), `${iso.slice(0, 10)} ${iso.slice(11, 23)}`, String(ms));
  }
  assert.deepEqual([clickHouseTime(-Infinity), clickHouseTime(min - 1), clickHouseTime(NaN), clickHouseTime(8.64e15)], ['1900-01-01 00:00:00.000', '1900-01-01 00:00:00.000', '1970-01-01 00:00:00.000', '2299-12-31 23:59:59.999']);
});
