/**
 * What must be known of a statement before the engine sees it: its kind, its output format, whether a second statement
 * follows. The engine parses for itself; this only tells words from strings, names and comments.
 */
export interface Statement {
  /** First word in upper case (SELECT, INSERT, CREATE, ...), '' for an empty text. */
  kind: string;
  /** The format that a trailing FORMAT clause names. */
  format: string | undefined;
  /** Whether anything but comments follows a `;`. */
  multiple: boolean;
  /** Whether the result is to go into a file of the server. */
  intoOutfile: boolean;
}

interface Token {
  text: string;
  depth: number;
}

const reads = new Set(['SELECT', 'WITH', 'SHOW', 'DESCRIBE', 'DESC', 'EXISTS', 'EXPLAIN', 'FROM', 'CHECK', 'VALUES']);

/** Whether a statement of this kind changes nothing. `WITH` may open an INSERT, which `describe` reports as INSERT. */
export function isRead(kind: string): boolean {
  return reads.has(kind);
}

/** White space and comments (`--`, `#!`, `# `, `/* *\/`), quoted things, $heredoc$, words, and any other character. */
const lexer =
  /\s+|--[^\n]*|#[! ][^\n]*|\/\*[\s\S]*?(?:\*\/|$)|'(?:[^'\\]|\\[\s\S]|'')*'?|"(?:[^"\\]|\\[\s\S]|"")*"?|`(?:[^`\\]|\\[\s\S]|``)*`?|\$(\w*)\$[\s\S]*?\$\1\$|[\p{L}_$][\p{L}\p{N}_$]*|[\s\S]/gu;

function* tokens(sql: string): Generator<Token> {
  let depth = 0;
  for (const [text] of sql.matchAll(lexer)) {
    if (/^(?:\s|--|#[! ]|\/\*)/.test(text)) continue;
    if (text === ')') depth -= 1;
    yield { text, depth };
    if (text === '(') depth += 1;
  }
}

/** Reads a whole statement; for an INSERT, reading stops where its data may begin. */
export function describe(sql: string): Statement {
  const seen: Token[] = [];
  let kind = '';
  let multiple = false;
  let ended = false;
  for (const token of tokens(sql)) {
    if (ended && token.text !== ';') {
      multiple = true;
      break;
    }
    if (token.text === ';' && token.depth === 0) {
      ended = true;
      continue;
    }
    if (kind === '' && token.text !== '(') kind = token.text.toUpperCase();
    if (kind === 'WITH' && token.depth === 0 && token.text.toUpperCase() === 'INSERT') kind = 'INSERT';
    if (kind === 'INSERT') return { kind, format: undefined, multiple: false, intoOutfile: false };
    if (token.depth === 0) seen.push(token);
  }

  let format: string | undefined;
  let intoOutfile = false;
  seen.forEach((token, i) => {
    const next = seen[i + 1]?.text;
    if (next === undefined) return;
    const word = token.text.toUpperCase();
    if (word === 'INTO' && next.toUpperCase() === 'OUTFILE') intoOutfile = true;
    const after = seen[i + 2]?.text.toUpperCase();
    if (word === 'FORMAT' && /^\w+$/.test(next) && (after === undefined || after === 'SETTINGS')) format = next;
  });
  return { kind, format, multiple, intoOutfile };
}

/** Text as a ClickHouse string literal. */
export function quoteString(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** A name as a quoted identifier. */
export function quoteName(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}
