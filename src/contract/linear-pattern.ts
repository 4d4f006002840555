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
    linear = RE2JS.compile(RE2JS.translateRegExp(asJavaScriptHasIt(pattern)));
  } catch (error) {
    return { fault: `${error instanceof Error ? error.message : String(error)} (patterns are those of RE2, which has neither look-around nor back references)` };
  }
  const quick = isHarmless(pattern) ? ownEngine(pattern) : null;
  return { test: text => (quick !== null && text.length <= maxShort ? quick.test(text) : linear.test(text)), toString: () => pattern };
}

/** What JavaScript calls white space, and all else; RE2 knows ASCII's alone. */
const spaces = '\\t-\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}';
const others = '\\x00-\\x08\\x0e-\\x1f!-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{fefe}\\x{ff00}-\\x{10ffff}';

/** Both engines must say the same of a text: it must not depend on its length. */
function asJavaScriptHasIt(pattern: string): string {
  // RE2's own: flags that change what a point is, and quotes.
  if (/\(\?[imUs-]*s|\\Q/.test(pattern)) return pattern;
  let inClass = false;
  return pattern.replace(/\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\[^]|[.[\]]/g, token => {
    if (token.length > 2) return `\\x{${(JSON.parse(`"${token}"`) as string).codePointAt(0)?.toString(16) ?? ''}}`;
    if (token === '[') inClass = true;
    else if (token === ']') inClass = false;
    else if (token === '.') return inClass ? token : '[^\\n\\r\\x{2028}\\x{2029}]';
    else if (token === '\\s') return inClass ? spaces : `[${spaces}]`;
    else if (token === '\\S') return inClass ? others : `[^${spaces}]`;
    return token;
  });
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
