/**
 * The text without these characters at its ends. Its time grows with the text's length alone: the regular expression for the
 * same (`/^[ ]+|[ ]+$/`) tries every run of spaces within a text from each of its places, which takes hours for a megabyte.
 */
export function trimOf(text: string, characters: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && characters.includes(text.charAt(start))) start++;
  while (end > start && characters.includes(text.charAt(end - 1))) end--;
  return text.slice(start, end);
}

/** JSON's white space (RFC 8259), which is not all of Unicode's. */
export function trimJson(text: string): string {
  return trimOf(text, ' \t\r\n');
}
