import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConfig } from '../src/config.ts';
import { freePort } from '../src/local/ports.ts';
import { requireReachable } from '../src/reach.ts';

test('addresses where nobody listens are named with their variables, all at once and soon', async () => {
  const port = await freePort('127.0.0.1');
  const config = readConfig({ KAFKA_BROKERS: `127.0.0.1:${port},[::1]:${port}`, SCHEMA_REGISTRY_URL: `http://127.0.0.1:${port}`, CLICKHOUSE_URL: `http://127.0.0.1:${port}` }, '/p', '/w', 'up');
  await assert.rejects(requireReachable(config), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'config_invalid');
    assert.deepEqual(error.message.match(/KAFKA_BROKERS|SCHEMA_REGISTRY_URL|CLICKHOUSE_URL/g), ['KAFKA_BROKERS', 'SCHEMA_REGISTRY_URL', 'CLICKHOUSE_URL']);
    return true;
  });
  await requireReachable(readConfig({}, '/p', '/w', 'up'));
});
