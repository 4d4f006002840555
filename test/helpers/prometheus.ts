import assert from 'node:assert/strict';

/** A scrape: the value of each series, by its name with labels in the order that they were written: `name{a="b"}`. */
export class Scrape extends Map<string, number> {
  /** The sum of the series of this name that have these labels. */
  sum(name: string, labels: Record<string, string> = {}): number {
    let sum = 0;
    for (const [series, value] of this) {
      if (series !== name && !series.startsWith(`${name}{`)) continue;
      if (Object.entries(labels).every(([label, is]) => series.includes(`${label}=${JSON.stringify(is)}`))) sum += value;
    }
    return sum;
  }
}

/** Reads Prometheus' text format 0.0.4; fails on a line that is none. */
export function parseScrape(text: string): Scrape {
  const scrape = new Scrape();
  for (const line of text.split('\n')) {
    if (line === '' || /^# (?:HELP|TYPE) [a-zA-Z_:][\w:]* \S/.test(line)) continue;
    const match = /^([a-zA-Z_:][\w:]*(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)*\})?) (-?[\d.]+(?:e[+-]?\d+)?|Na[nN]|[+-]?Inf)$/.exec(line);
    assert.ok(match, `no line of the format: ${line}`);
    scrape.set(match[1] ?? '', Number(match[2]?.replace('Inf', 'Infinity')));
  }
  return scrape;
}

export async function scrape(url: string): Promise<Scrape> {
  const response = await fetch(`${url}/metrics`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  return parseScrape(await response.text());
}
