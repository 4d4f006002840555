import { Exception } from './exception.ts';

/** The fields of a `multipart/form-data` body (RFC 7578), values as text; undefined when the content type is another. */
export function readFields(contentType: string | undefined, body: Buffer): Map<string, string> | undefined {
  const boundary = /^multipart\/form-data;.*?boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType ?? '');
  const mark = boundary?.[1] ?? boundary?.[2];
  if (mark === undefined) return undefined;
  const fields = new Map<string, string>();
  const parts = `\r\n${body.toString('latin1')}`.split(`\r\n--${mark}`);
  if (!parts.at(-1)?.startsWith('--')) throw new Exception(117, 'INCORRECT_DATA', 'The multipart body has no end.');
  for (const part of parts.slice(1, -1)) {
    const gap = part.indexOf('\r\n\r\n');
    const name = /content-disposition:[^\r]*?\bname="([^"]*)"/i.exec(part.slice(0, gap))?.[1];
    if (gap < 0 || name === undefined) throw new Exception(117, 'INCORRECT_DATA', 'A part of the multipart body has no name.');
    fields.set(name, Buffer.from(part.slice(gap + 4), 'latin1').toString('utf8'));
  }
  return fields;
}
