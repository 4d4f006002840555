import { createServer } from 'node:net';
import { once } from 'node:events';
import { MillraceError } from '../errors.ts';

/** A port nobody listens on now. Somebody may take it before it is used. */
export async function freePort(host: string): Promise<number> {
  const server = createServer();
  server.listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no TCP address');
  return address.port;
}

/** Why a port cannot be listened on (EADDRINUSE, EACCES, …); undefined when it can. */
export async function portFault(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code ?? String(thrown);
  }
  server.close();
  await once(server, 'close');
  return undefined;
}

/**
 * Throws `port_taken` unless the port can be listened on.
 * `part` is for the message, `variable` the environment variable that moves the port.
 */
export async function requirePort(host: string, port: number, part: string, variable: string): Promise<void> {
  const fault = await portFault(host, port);
  if (fault === undefined) return;
  const why = fault === 'EADDRINUSE' ? 'is taken by another program' : `cannot be listened on (${fault})`;
  throw new MillraceError('port_taken', `port ${port} for ${part} ${why}`, {
    hint: `Stop that program, or set ${variable} to another port.`,
  });
}
