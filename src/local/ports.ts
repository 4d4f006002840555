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
  throw listenError(fault, host, port, part, variable);
}

/** What to do about a fault of listening (EADDRINUSE, ENOTFOUND, …). */
export function listenError(fault: string, host: string, port: number, part: string, variable: string, cause?: unknown): MillraceError {
  if (fault === 'EADDRINUSE') return new MillraceError('port_taken', `port ${port} for ${part} is taken by another program`, { cause, hint: `Stop that program, or set ${variable} to another port.` });
  if (fault === 'EACCES') return new MillraceError('port_taken', `port ${port} for ${part} may not be listened on by this user`, { cause, hint: `Set ${variable} to a port from 1024 on.` });
  const why = fault === 'EADDRNOTAVAIL' ? 'that is no address of this machine' : ['ENOTFOUND', 'EAI_AGAIN'].includes(fault) ? 'that is no name of a machine' : fault;
  return new MillraceError('config_invalid', `${part} cannot listen on ${host}: ${why}`, { cause, hint: 'Set HOST to an address of this machine: 127.0.0.1 for itself alone, 0.0.0.0 for all.' });
}
