import type { FastifyInstance } from 'fastify';
import type { KeyRing } from './keys.ts';
import { sendError } from './reply.ts';

/** How long a browser may remember a preflight's answer, in seconds; more than two hours none of them does. */
const preflightSeconds = 7_200;

/** The SDK's users may add headers of their own; `*` is none to browsers of before 2022, and by the standard no `authorization`. */
const allowedHeaders = 'authorization, content-type, content-encoding, x-api-key, x-write-key, x-retry-count, x-request-id, traceparent, *';
const exposedHeaders = 'Retry-After, X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset';

/** What pages need: CORS (any origin, no cookies), and the settings with which the browser SDK starts. */
export function serveBrowsers(app: FastifyInstance, keys: KeyRing): void {
  // Also of answers that are given before a route is asked, as 503: a page could not read their Retry-After.
  app.addHook('onSend', (_request, reply, _payload, next) => {
    reply.header('access-control-allow-origin', '*').header('access-control-expose-headers', exposedHeaders);
    next();
  });
  app.options('*', (_request, reply) =>
    reply.code(204).header('access-control-allow-methods', 'GET, POST, OPTIONS').header('access-control-allow-headers', allowedHeaders).header('access-control-max-age', String(preflightSeconds)).send());

  // Named as Segment's settings are; apiHost sends the events back here, and protocol as the page came: from https nothing may go to http.
  app.get<{ Params: { writeKey: string } }>('/v1/projects/:writeKey/settings', (request, reply) => {
    const { writeKey } = request.params;
    if (keys.find(writeKey) === null) return sendError(request, reply, 'not_found', 'no such project: the write key is unknown');
    const protocol = request.headers['x-forwarded-proto'] === 'https' ? 'https' : request.protocol;
    return reply.header('cache-control', 'public, max-age=60').send({
      integrations: { 'Segment.io': { apiKey: writeKey, apiHost: `${request.host}/v1`, protocol, unbundledIntegrations: [], addBundledMetadata: true, versionSettings: { version: '4.4.7', componentTypes: ['browser'] } } },
      plan: { track: { __default: { enabled: true, integrations: {} } }, identify: { __default: { enabled: true } }, group: { __default: { enabled: true } } },
      edgeFunction: {},
      analyticsNextEnabled: true,
      middlewareSettings: {},
      enabledMiddleware: {},
      metrics: { sampleRate: 0 },
      legacyVideoPluginsEnabled: false,
      remotePlugins: [],
    });
  });
}
