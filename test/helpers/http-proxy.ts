import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { IncomingMessage } from 'node:http';

/** What to do with one request to ClickHouse. `refuse`: close the connection; `lose`: pass it on, then close instead of answering. */
export type Verdict = 'pass' | 'refuse' | 'lose' | 'cut';

export interface ClickHouseProxy {
  url: string;
  /** Asked for every request with its statement's first 200 characters; and told when the answer to it came. */
  judge: (statement: string) => Verdict | Promise<Verdict>;
  answered: (statement: string) => void | Promise<void>;
  close: () => Promise<void>;
}

/**
 * A proxy in front of ClickHouse's HTTP interface that can lose requests and answers, to act between two steps of a sink.
 * `cut` passes on half of the body and then closes the connection to ClickHouse.
 */
export async function startClickHouseProxy(target: string): Promise<ClickHouseProxy> {
  const { hostname, port } = new URL(target);
  const proxy: ClickHouseProxy = { url: '', judge: () => 'pass', answered: () => undefined, close: async () => undefined };

  const server = createServer((incoming, outgoing) => {
    const handle = async (): Promise<void> => {
      const body = await bytesOf(incoming);
      const url = new URL(incoming.url ?? '/', 'http://localhost');
      const statement = (url.searchParams.get('query') ?? body.toString('utf8', 0, 200)).slice(0, 200);
      const verdict = await proxy.judge(statement);
      if (verdict === 'refuse') {
        incoming.socket.destroy();
        return;
      }
      const { 'transfer-encoding': _chunked, ...headers } = incoming.headers;
      const upstream = httpRequest({ hostname, port, path: incoming.url, method: incoming.method, agent: false, headers: { ...headers, connection: 'close', 'content-length': String(body.length) } });
      // After the answer began, a fault comes as the end of the answer's body.
      upstream.on('error', () => undefined);
      if (verdict === 'cut') {
        upstream.write(body.subarray(0, Math.floor(body.length / 2)), () => upstream.destroy());
        incoming.socket.destroy();
        return;
      }
      upstream.end(body);
      const [answer] = (await once(upstream, 'response')) as [IncomingMessage];
      const answerBody = await bytesOf(answer);
      if (verdict === 'lose') {
        incoming.socket.destroy();
        await proxy.answered(statement);
        return;
      }
      await proxy.answered(statement);
      const { 'transfer-encoding': _encoding, 'content-length': _length, connection: _connection, ...answerHeaders } = answer.headers;
      outgoing.writeHead(answer.statusCode ?? 500, { ...answerHeaders, 'content-length': String(answerBody.length) });
      outgoing.end(answerBody);
    };
    handle().catch(() => incoming.socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  proxy.close = async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  return proxy;
}

async function bytesOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
