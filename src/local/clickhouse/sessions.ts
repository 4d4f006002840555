import { Exception } from './exception.ts';
import type { Connection, Engine } from './engine.ts';

/**
 * Engine sessions for requests. A request without a session id gets a new session of its own, so no setting, database
 * or temporary table of one can reach another. A named session stays for its timeout after its last request.
 *
 *   named session: absent -> busy (acquired) -> idle (released) -> busy ... -> absent (timeout or close)
 */
export interface Lease {
  connection: Connection;
  /** Whether other requests will use this session after this one. */
  named: boolean;
  release: () => void;
}

export interface Sessions {
  /**
   * Waits for a free slot and takes a session. Throws `Exception` 202 when too many wait already, 373 when the named
   * session runs something else, 372 when it has to be there and isn't.
   */
  acquire: (name: string | undefined, timeoutSeconds: number, mustExist: boolean) => Promise<Lease>;
  /** A session outside the slots, for the server's own short statements. */
  aside: () => Connection;
  close: () => void;
}

interface Named {
  connection: Connection;
  busy: boolean;
  timer: NodeJS.Timeout | undefined;
}

export function createSessions(engine: Engine, options: { maxRunning: number; maxWaiting: number }): Sessions {
  const names = new Map<string, Named>();
  const waiting: (() => void)[] = [];
  let running = 0;

  async function takeSlot(): Promise<void> {
    if (running < options.maxRunning) {
      running += 1;
      return;
    }
    if (waiting.length >= options.maxWaiting) {
      throw new Exception(202, 'TOO_MANY_SIMULTANEOUS_QUERIES', `Too many simultaneous queries: ${running} run, ${waiting.length} wait.`);
    }
    await new Promise<void>((resolve) => waiting.push(resolve));
  }

  function freeSlot(): void {
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  }

  function once(work: () => void): () => void {
    let done = false;
    return () => {
      if (!done) {
        done = true;
        work();
      }
    };
  }

  async function acquire(name: string | undefined, timeoutSeconds: number, mustExist: boolean): Promise<Lease> {
    if (name === undefined) {
      await takeSlot();
      const connection = engine.connect();
      return {
        connection,
        named: false,
        release: once(() => {
          connection.close();
          freeSlot();
        }),
      };
    }

    let session = names.get(name);
    if (session === undefined && mustExist) throw new Exception(372, 'SESSION_NOT_FOUND', `Session ${name} not found.`);
    if (session?.busy === true) throw new Exception(373, 'SESSION_IS_LOCKED', `Session ${name} is locked by a concurrent client.`);
    session ??= { connection: engine.connect(), busy: false, timer: undefined };
    const mine = session;
    mine.busy = true;
    clearTimeout(mine.timer);
    names.set(name, mine);
    const idle = once(() => {
      mine.busy = false;
      mine.timer = setTimeout(() => {
        names.delete(name);
        mine.connection.close();
      }, timeoutSeconds * 1000);
      mine.timer.unref();
    });
    try {
      await takeSlot();
    } catch (error) {
      idle();
      throw error;
    }
    return {
      connection: mine.connection,
      named: true,
      release: once(() => {
        idle();
        freeSlot();
      }),
    };
  }

  return {
    acquire,
    aside: () => engine.connect(),
    close: () => {
      for (const session of names.values()) {
        clearTimeout(session.timer);
        session.connection.close();
      }
      names.clear();
    },
  };
}
