/** The floor of bench/door.ts: a bare Fastify that parses what is posted and answers. It checks nothing and keeps nothing. */
import { fastify } from 'fastify';

const app = fastify({ bodyLimit: 10 * 1024 * 1024 });
app.post('/v1/track', () => ({ success: true }));
app.post('/v1/batch', request => {
  const { batch } = request.body as { batch: unknown[] };
  return { success: true, received: batch.length, accepted: batch.length, rejected: 0, errors: [] };
});
process.on('SIGTERM', () => void app.close().then(() => process.exit(0)));
process.stdin.on('end', () => process.exit(1)).resume();
console.log(await app.listen({ port: 0, host: '127.0.0.1' }));
