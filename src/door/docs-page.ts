import { hash } from 'node:crypto';
import { catalogue } from '../errors.ts';
import type { Answer, MediaType, OpenApiDocument, Operation } from './openapi-parts.ts';
import type { ErrorBody } from './reply.ts';
import type { JsonSchema } from './schemas.ts';

/* The OpenAPI document as one page of HTML: no script, nothing from elsewhere, styles that stand in it. */

const style = `
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5a6675; --line: #dfe4ea; --back: #fff; --shade: #f5f7f9; --mark: #0b6e4f; --get: #1f5fae; --wrong: #a8442a }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa7b6; --line: #303945; --back: #14181d; --shade: #1c2229; --mark: #57c79b; --get: #7fb2f0; --wrong: #ee9a80 } }
* { box-sizing: border-box }
html { scroll-padding-top: 1rem }
body { margin: 0; color: var(--ink); background: var(--back); font: 16px/1.5 system-ui, sans-serif; display: grid; grid-template-columns: 17rem minmax(0, 1fr) }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1.5rem 1rem; border-right: 1px solid var(--line); background: var(--shade); font-size: .85rem }
nav h2 { margin: 1.2rem 0 .2rem; font-size: .75rem; text-transform: uppercase; letter-spacing: .06em; color: var(--soft) }
nav a { display: block; padding: .1rem 0; overflow-wrap: anywhere }
a { color: inherit; text-decoration: none } a:hover { text-decoration: underline }
main { padding: 2rem clamp(1rem, 4vw, 3.5rem); max-width: 66rem }
h1 { margin: 0 } h2.tag { margin: 3rem 0 .2rem } main p { margin: .4rem 0; max-width: 48rem }
main p a, td a, .type a { color: var(--get) }
article { margin: 1.2rem 0; border: 1px solid var(--line); border-radius: .5rem; padding: 1rem 1.2rem }
article > h3 { margin: 0; font: 600 1rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
h4 { margin: 1.1rem 0 .3rem; font-size: .8rem; text-transform: uppercase; letter-spacing: .05em; color: var(--soft) }
.method { display: inline-block; min-width: 3.2rem; color: var(--mark) } .get { color: var(--get) }
code, pre { font: .85rem/1.5 ui-monospace, monospace } code { overflow-wrap: anywhere }
pre { margin: .4rem 0; padding: .7rem .9rem; overflow: auto; background: var(--shade); border-radius: .4rem }
.table { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: .9rem }
th { text-align: left; font-weight: 600; color: var(--soft) }
th, td { padding: .35rem .8rem .35rem 0; border-top: 1px solid var(--line); vertical-align: top }
tr:first-child > th { border-top: 0 }
.type { color: var(--soft); font-size: .82rem } .must { color: var(--wrong); font-size: .8rem }
.status { font: 600 .9rem/1.5 ui-monospace, monospace; color: var(--mark) } .refused { color: var(--wrong) }
details { margin: .4rem 0 } summary { cursor: pointer; color: var(--soft) }
@media (max-width: 52rem) { body { display: block } nav { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line) } }
`;

/** Nothing but the page's own styles. */
export const pagePolicy = `default-src 'none'; style-src 'sha256-${hash('sha256', style, 'base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\'': '&#39;' };
const text = (value: unknown): string => String(value).replaceAll(/[&<>"']/g, character => entities[character] ?? '');
/** A description: what stands between backticks is code. */
const prose = (value: unknown): string => text(value ?? '').replaceAll(/`([^`]+)`/g, '<code>$1</code>');
const listed = (value: unknown): unknown[] => (Array.isArray(value) ? value : value === undefined ? [] : [value]);
const nameOf = (reference: unknown): string => String(reference).split('/').at(-1) ?? '';
const pretty = (value: unknown): string => `<pre>${text(JSON.stringify(value, null, 2))}</pre>`;

export function docsPage(document: OpenApiDocument): string {
  const { info, tags, components } = document;
  const operations = Object.entries(document.paths).flatMap(([path, item]) => (['get', 'post'] as const).flatMap(method => (item[method] === undefined ? [] : [{ path, method, operation: item[method] }])));
  /** One that two dialects share is listed at both, and stands at the first. */
  const of = (tag: string): typeof operations => operations.filter(({ operation }) => operation.tags.includes(tag));
  const link = ({ path, method, operation }: (typeof operations)[number]): string => `<a href="#${operation.operationId}"><span class="method ${method}">${method.toUpperCase()}</span>${text(path)}</a>`;
  const keys = Object.entries(components.securitySchemes).map(([, scheme]) => `<tr><td><code>${text(scheme['type'] === 'http' ? `Authorization: ${String(scheme['scheme']) === 'basic' ? 'Basic' : 'Bearer'}` : scheme['in'] === 'query' ? `?${String(scheme['name'])}=` : scheme['name'])}</code></td><td>${prose(scheme['description'])}</td></tr>`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${text(info.title)}: the HTTP door</title><style>${style}</style></head>
<body><nav><a href="#top"><b>${text(info.title)}</b> ${text(info.version)}</a>
${tags.map(({ name }) => `<h2>${text(name)}</h2>${of(name).map(link).join('\n')}`).join('\n')}
<h2><a href="#refusals">Refusals</a></h2>
<h2>Schemas</h2>${Object.keys(components.schemas).map(name => `<a href="#${text(name)}">${text(name)}</a>`).join('\n')}</nav>
<main id="top"><h1>${text(info.title)}</h1><p>${text(info.summary)}. For programs: <a href="openapi.json">openapi.json</a>, OpenAPI ${text(document.openapi)}.</p><p>${prose(info.description)}</p>
<h4>The write key</h4><div class="table"><table>${keys.join('')}</table></div>
${tags.map(({ name, description }) => `<h2 class="tag">${text(name)}</h2><p>${prose(description)}</p>${of(name).filter(({ operation }) => operation.tags[0] === name).map(({ path, method, operation }) => article(path, method, operation, document)).join('\n')}`).join('\n')}
<h2 class="tag" id="refusals">Refusals</h2>${refusals(document)}
<h2 class="tag">Schemas</h2>${Object.entries(components.schemas).map(([name, schema]) => `<article id="${text(name)}"><h3>${text(name)}</h3>${shape(schema)}</article>`).join('\n')}
</main></body></html>`;
}

function article(path: string, method: string, operation: Operation, { components }: OpenApiDocument): string {
  const { summary, requestBody, responses, security, operationId } = operation;
  const answers = Object.entries(responses).map(([status, answer]) => {
    const found = '$ref' in answer ? components.responses[nameOf(answer.$ref)] : answer;
    return found === undefined || '$ref' in found ? '' : row(status, found);
  });
  return `<article id="${operationId}"><h3><span class="method ${method}">${method.toUpperCase()}</span> ${text(path)}</h3><p>${prose(summary)}${security.some(keys => Object.keys(keys).length > 0) ? '' : '; no key'}</p>
${requestBody === undefined ? '' : `<h4>Body</h4><p>${media(requestBody.content['application/json'])}. ${prose(requestBody.description)}</p>${examples(requestBody.content['application/json'])}`}
<h4>Answers</h4><div class="table"><table>${answers.join('\n')}</table></div></article>`;
}

function row(status: string, { description, content }: Exclude<Answer, { $ref: string }>): string {
  const [type = '', found] = Object.entries(content)[0] ?? [];
  const codes = codesOf(found);
  if (codes.length > 0) return `<tr><td class="status refused">${text(status)}</td><td>${codes.map(code => `<a href="#${text(code)}"><code>${text(code)}</code></a>`).join(', ')}</td></tr>`;
  return `<tr><td class="status">${text(status)}</td><td>${prose(description)}. ${found === undefined ? '' : `${type === 'application/json' ? media(found) : text(type)}${examples(found)}`}</td></tr>`;
}

function codesOf(content: MediaType | undefined): unknown[] {
  return listed((content?.schema['properties'] as { code?: { enum?: unknown[] } } | undefined)?.code?.enum);
}

/** Each code once: its status and its meaning, with one body for all. */
function refusals({ components }: OpenApiDocument): string {
  const rows = new Map<string, [status: number, row: string]>();
  let body: unknown;
  for (const answer of Object.values(components.responses)) {
    const content = '$ref' in answer ? undefined : answer.content['application/json'];
    for (const [code, { value }] of Object.entries(content?.examples ?? {})) {
      const { error } = value as ErrorBody;
      body ??= value;
      const { status, retryable } = catalogue[error.code];
      rows.set(code, [status ?? 0, `<tr id="${text(code)}"><td class="status refused">${status}</td><td><code>${text(code)}</code></td><td>${prose(error.message)}</td><td>${retryable ? 'send again' : ''}</td></tr>`]);
    }
  }
  return `<div class="table"><table>${[...rows.values()].sort(([a], [b]) => a - b).map(([, each]) => each).join('\n')}</table></div><h4>Each with a body like this</h4>${pretty(body)}`;
}

function media({ schema }: MediaType): string {
  return listed(schema['anyOf'] ?? schema).map(each => typeText(each as JsonSchema)).join(' or ');
}

function examples({ examples: all = {} }: MediaType): string {
  const each = Object.entries(all);
  return each.map(([name, { value }]) => `<details><summary>${each.length === 1 ? 'example' : text(name)}</summary>${pretty(value)}</details>`).join('');
}

/** A schema in words, with links to the named ones. */
function typeText(schema: JsonSchema): string {
  if (schema['$ref'] !== undefined) return `<a href="#${text(nameOf(schema['$ref']))}">${text(nameOf(schema['$ref']))}</a>`;
  if (schema['const'] !== undefined) return `<code>${text(JSON.stringify(schema['const']))}</code>`;
  if (schema['enum'] !== undefined) return listed(schema['enum']).map(value => `<code>${text(value)}</code>`).join(', ');
  const types = listed(schema['type']).map(type => (type === 'array' ? schema['maxItems'] === 0 ? 'empty list' : `list of ${typeText((schema['items'] ?? {}) as JsonSchema)}` : text(type)));
  const limits = [
    schema['maxLength'] === undefined ? '' : `${text(schema['minLength'] ?? 0)} to ${text(schema['maxLength'])} characters`,
    typeof schema['maxItems'] !== 'number' || schema['maxItems'] === 0 ? '' : `${text(schema['maxItems'])} at most`,
    schema['format'] === undefined ? '' : text(schema['format']),
    typeof schema['pattern'] !== 'string' || schema['pattern'].length > 60 ? '' : `<code>${text(schema['pattern'])}</code>`,
  ].filter(limit => limit !== '');
  return [types.join(' or ') || 'anything', ...limits].join(', ');
}

function shape(schema: JsonSchema): string {
  const properties = Object.entries((schema['properties'] ?? {}) as Record<string, JsonSchema>);
  const required = new Set(listed(schema['required']));
  const rows = properties.map(([name, member]) => `<tr><td><code>${text(name)}</code>${required.has(name) ? ' <span class="must">required</span>' : ''}</td><td class="type">${typeText(member)}</td><td>${prose(member['description'])}</td></tr>`);
  const values = listed(schema['enum']);
  const all = (listed(schema['allOf']) as JsonSchema[]).filter(part => part['$ref'] !== undefined).map(typeText);
  return `<p>${prose(schema['description'])}</p>${values.length === 0 ? '' : `<p>${values.map(value => `<code>${text(value)}</code>`).join(', ')}</p>`}${all.length === 0 ? '' : `<p>All of ${all.join(', ')}${rows.length === 0 ? '' : '; and:'}</p>`}${rows.length === 0 ? '' : `<div class="table"><table>${rows.join('\n')}</table></div>`}${listed(schema['examples']).map(pretty).join('')}`;
}
