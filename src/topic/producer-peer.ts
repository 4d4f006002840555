import { isIP } from 'node:net';
import type { ConnectionOptions as TlsOptions } from 'node:tls';
import { Connection, Writer, type Reader } from '@platformatic/kafka';
import { asError } from '../errors.ts';
import type { KafkaConnection } from './connection.ts';

export interface PeerOptions {
  connection: KafkaConnection;
  connectTimeoutMs: number;
  requestTimeoutMs: number;
  /** Called when the connection is up. */
  onUp: (peer: Peer) => void;
  /** Called when a connection could not be made or is lost; open requests are answered with an error as well. */
  onDown: (peer: Peer, error: Error) => void;
}

type Parse<T> = (correlationId: number, key: number, version: number, reader: Reader) => T;

/** One broker's address and at most one connection to it, made again when asked after it is lost. */
export interface Peer {
  readonly address: string;
  up(): boolean;
  /** Starts a connection unless there is one. False when the last failure is too recent; else onUp or onDown follows, or it is up. */
  connect(): boolean;
  /** Exactly one answer for every request: a value, or an error that says nothing about what the broker did. */
  request<T>(api: { key: number; version: number; flexible?: boolean }, body: Buffer, parse: Parse<T>, answer: (error: Error | null, value: T | null) => void): void;
  /** Breaks the connection off; every open request fails. */
  drop(): void;
  close(): void;
}

const backoffMinMs = 100;
const backoffMaxMs = 1000;

/** States: idle → connecting → up → idle. `close` makes idle final. A failed attempt waits 100 ms, doubled up to 1 s. */
export function createPeer(host: string, port: number, options: PeerOptions): Peer {
  const address = `${host}:${port}`;
  const settings = connectionSettings(host, options);
  let connection: Connection | null = null;
  let isUp = false;
  let closed = false;
  let backoffMs = 0;
  let notBefore = 0;

  const peer: Peer = {
    address,
    up: () => isUp,
    connect() {
      if (connection !== null) return true;
      if (closed || Date.now() < notBefore) return false;
      const made = new Connection(options.connection.clientId, settings);
      connection = made;
      // The client emits errors beside calling back; without a listener that would end the process.
      made.on('error', (error) => lost(made, error));
      made.on('close', () => lost(made, new Error(`connection to ${address} closed`)));
      try {
        void made.connect(host, port, (error) => {
          if (connection !== made) return;
          if (error) return lost(made, error);
          isUp = true;
          backoffMs = 0;
          options.onUp(peer);
        });
      } catch (thrown) {
        lost(made, asError(thrown));
      }
      return true;
    },
    request(api, body, parse, answer) {
      if (connection === null || !isUp) return answer(new Error(`no connection to ${address}`), null);
      const used = connection;
      let answered = false;
      used.send(api.key, api.version, () => Writer.create().append(body), parse, api.flexible ?? false, api.flexible ?? false, (error, value) => {
        if (answered) return;
        answered = true;
        if (error !== null && error !== undefined) {
          // Whatever went wrong (no answer in time, a broken frame), this connection cannot be trusted further.
          destroy(used);
          answer(error, null);
        } else answer(null, value as NonNullable<typeof value>);
      });
    },
    drop() {
      if (connection !== null) destroy(connection);
    },
    close() {
      closed = true;
      if (connection !== null) destroy(connection);
    },
  };

  function lost(which: Connection, error: Error): void {
    if (connection !== which) return;
    connection = null;
    isUp = false;
    backoffMs = Math.min(backoffMaxMs, Math.max(backoffMinMs, backoffMs * 2));
    notBefore = Date.now() + backoffMs * (0.75 + Math.random() / 2);
    destroy(which);
    options.onDown(peer, error);
  }

  return peer;
}

/** Not Connection.close: that waits until everything written is read, which a hung broker never does. */
function destroy(connection: Connection): void {
  const socket = connection.socket as Connection['socket'] | undefined;
  socket?.destroy();
}

function connectionSettings(host: string, options: PeerOptions): ConstructorParameters<typeof Connection>[1] {
  const { ssl, sasl } = options.connection;
  const tls: TlsOptions | undefined = ssl === true ? {} : ssl === false ? undefined : ssl;
  return {
    connectTimeout: options.connectTimeoutMs,
    requestTimeout: options.requestTimeoutMs,
    maxInflights: 1000, // the publisher limits what is open; the client must not queue a second time
    ...(tls !== undefined && { tls: { ...(isIP(host) === 0 && { servername: host }), ...tls } }),
    ...(sasl !== undefined && { sasl: { ...sasl, mechanism: mechanisms[sasl.mechanism] } }),
  };
}

const mechanisms = { plain: 'PLAIN', 'scram-sha-256': 'SCRAM-SHA-256', 'scram-sha-512': 'SCRAM-SHA-512' } as const;
