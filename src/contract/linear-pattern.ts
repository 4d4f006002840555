import { RE2JS } from 're2js';

/** A pattern that takes a time linear in the text, however it is made, or why it cannot be used. */
export type Pattern = LinearPattern | { fault: string };

export interface LinearPattern {
  test: (text: string) => boolean;
  /** Ajv takes two patterns of the same text for one. */
  toString: () => string;
}

/** Texts up to this length, in UTF-16 units, and patterns of at most two quantifiers without groups: some 10^5 steps at worst. */
const maxShort = 64;

/**
 * JavaScript's own engine goes back and forth: a pattern like `^(a+)+$` takes it a year for a text of 60 characters. RE2's does not, and
 * is ten times slower on what is harmless, which is most of what comes; so that goes to the former.
 */
export function createPattern(pattern: string): Pattern {
  let linear: RE2JS;
  try {
    linear = RE2JS.compile(RE2JS.translateRegExp(pattern));
  } catch (error) {
    return { fault: `${error instanceof Error ? error.message : String(error)} (patterns are those of RE2, which has neither look-around nor back references)` };
  }
  const quick = isHarmless(pattern) ? ownEngine(pattern) : null;
  return { test: text => (quick !== null && text.length <= maxShort ? quick.test(text) : linear.test(text)), toString: () => pattern };
}

function isHarmless(pattern: string): boolean {
  return !/[()|]|\\[1-9k]/.test(pattern) && (pattern.match(/[*+{]/g)?.length ?? 0) <= 2;
}

/** Null where JavaScript does not take it. */
function ownEngine(pattern: string): RegExp | null {
  try {
    return new RegExp(pattern, 'u');
  } catch {
    return null;
  }
}
