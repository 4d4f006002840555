/** A plot as SVG. Own, since chart libraries bring a browser's DOM or tens of megabytes for two kinds of picture. */
export type Plot = { file: string; title: string; yLabel: string } & (
  | { kind: 'bars'; groups: { label: string; bars: { label: string; value: number }[] }[] }
  /** `x` grows by factors, as counts of rows do, unless `linear` says else. */
  | { kind: 'lines'; linear?: boolean; xLabel: string; lines: { label: string; points: { x: number; y: number }[] }[] }
);

const size = { width: 760, height: 400, left: 76, right: 20, top: 64, bottom: 56 };
const colours = ['#4a7db5', '#d98a3d', '#5a9e6f', '#a35fa3', '#8c8c8c', '#c2504a'];
const inner = { width: size.width - size.left - size.right, height: size.height - size.top - size.bottom };

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const text = (x: number, y: number, words: string, more = ''): string => `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escape(words)}</text>`;
const plain = (value: number): string => value.toLocaleString('en-US', { maximumSignificantDigits: 3 });

export function svgOf(plot: Plot): string {
  const values = plot.kind === 'bars' ? plot.groups.flatMap(({ bars }) => bars.map(({ value }) => value)) : plot.lines.flatMap(({ points }) => points.map(({ y }) => y));
  const top = roundUp(Math.max(...values, 1e-9));
  const y = (value: number): number => size.top + inner.height * (1 - value / top);
  const grid = [0, 0.25, 0.5, 0.75, 1].map(share => {
    const at = y(top * share);
    return `<line x1="${size.left}" x2="${size.width - size.right}" y1="${at}" y2="${at}" stroke="#8888" stroke-width="0.5"/>${text(size.left - 8, at + 4, plain(top * share), 'text-anchor="end"')}`;
  });
  const { labels, marks } = plot.kind === 'bars' ? bars(plot.groups, y) : lines(plot, y);
  let x = size.left;
  const legend = labels.map((label, at) => {
    const here = x;
    x += 26 + label.length * 6.6;
    return `<rect x="${here}" y="36" width="11" height="11" fill="${colours[at % colours.length]}"/>${text(here + 16, 46, label)}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" font-family="system-ui, sans-serif" font-size="12" fill="#222">
<rect width="100%" height="100%" fill="#fff"/>
${text(size.left, 22, plot.title, 'font-size="15" font-weight="600"')}
${legend.join('\n')}
${text(16, size.top + inner.height / 2, plot.yLabel, `transform="rotate(-90 16 ${size.top + inner.height / 2})" text-anchor="middle"`)}
${grid.join('\n')}
${marks.join('\n')}
</svg>
`;
}

function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 1.5, 2, 3, 4, 5, 8].find(step => step * power >= value) ?? 10) * power;
}

function bars(groups: readonly { label: string; bars: { label: string; value: number }[] }[], y: (value: number) => number): { labels: string[]; marks: string[] } {
  const labels = [...new Set(groups.flatMap(group => group.bars.map(({ label }) => label)))];
  const groupWidth = inner.width / groups.length;
  const marks = groups.flatMap((group, at) => {
    const width = (groupWidth * 0.8) / group.bars.length;
    const start = size.left + at * groupWidth + groupWidth * 0.1;
    return [
      ...group.bars.map(({ label, value }, bar) => `<rect x="${(start + bar * width).toFixed(1)}" y="${y(value).toFixed(1)}" width="${(width * 0.9).toFixed(1)}" height="${(y(0) - y(value)).toFixed(1)}" fill="${colours[labels.indexOf(label) % colours.length]}"/>${text(start + bar * width + width * 0.45, y(value) - 5, plain(value), 'text-anchor="middle" font-size="10"')}`),
      text(size.left + (at + 0.5) * groupWidth, size.height - size.bottom + 20, group.label, 'text-anchor="middle"'),
    ];
  });
  return { labels, marks };
}

function lines({ lines: all, xLabel, linear = false }: { xLabel: string; linear?: boolean; lines: { label: string; points: { x: number; y: number }[] }[] }, y: (value: number) => number): { labels: string[]; marks: string[] } {
  const xs = [...new Set(all.flatMap(({ points }) => points.map(point => point.x)))].toSorted((a, b) => a - b);
  const scale = (value: number): number => (linear ? value : Math.log10(Math.max(value, 1e-9)));
  const [first = 1, last = 1] = [xs[0], xs.at(-1)].map(value => scale(value ?? 1));
  const x = (value: number): number => size.left + 24 + (inner.width - 48) * (last === first ? 0.5 : (scale(value) - first) / (last - first));
  const ticks = linear ? [0, 0.25, 0.5, 0.75, 1].map(share => Math.round(first + share * (last - first))) : xs;
  const marks = all.flatMap(({ points }, at) => {
    const colour = colours[at % colours.length];
    return [
      `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${points.map(point => `${x(point.x).toFixed(1)},${y(point.y).toFixed(1)}`).join(' ')}"/>`,
      ...(linear ? [] : points).map(point => `<circle cx="${x(point.x).toFixed(1)}" cy="${y(point.y).toFixed(1)}" r="3.5" fill="${colour}"><title>${plain(point.x)}: ${plain(point.y)}</title></circle>`),
    ];
  });
  return {
    labels: all.map(({ label }) => label),
    marks: [...marks, ...ticks.map(value => text(x(value), size.height - size.bottom + 18, plain(value), 'text-anchor="middle"')), text(size.left + inner.width / 2, size.height - 12, xLabel, 'text-anchor="middle"')],
  };
}
