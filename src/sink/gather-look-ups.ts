import type { EventTables, StoredPlace } from './event-tables.ts';

type FindIds = EventTables['findIds'];

interface Request {
  ids: readonly string[];
  resolve: (found: Map<string, StoredPlace[]>) => void;
  reject: (fault: unknown) => void;
}

/** How long others wait for a look-up that does not end: its connection may hang. */
const defaultPatienceMs = 2_000;
/** Of 37 bytes each in the statement. */
const maxIdsAtOnce = 100_000;

/**
 * One look-up at a time: what is asked meanwhile is asked together by the next. Among few ids a look-up takes less time than reading a
 * batch, and each goes alone; among a hundred million its cost is that of looking into every part of the table, whose number of ids
 * hardly counts. A fault is the fault of all that asked together. A look-up ends for who asked when its signal aborts.
 */
export function gatherLookUps(findIds: FindIds, patienceMs = defaultPatienceMs): FindIds {
  let waiting: Request[] = [];
  let busy = false;

  const ask = async (requests: readonly Request[]): Promise<void> => {
    const ids = requests.length === 1 ? (requests[0]?.ids ?? []) : [...new Set(requests.flatMap(request => request.ids))];
    try {
      // Of all of them, so of no one's signal.
      const found = await findIds(ids, new AbortController().signal);
      for (const request of requests) request.resolve(requests.length === 1 ? found : foundOf(request.ids, found));
    } catch (fault) {
      for (const request of requests) request.reject(fault);
    }
  };

  const next = (): void => {
    busy = waiting.length > 0;
    if (!busy) return;
    const requests = atOnce(waiting);
    waiting = waiting.slice(requests.length);
    let went = false;
    const goOn = (): void => {
      clearTimeout(timer);
      if (went) return;
      went = true;
      next();
    };
    const timer = setTimeout(goOn, patienceMs);
    void ask(requests).then(goOn);
  };

  return (ids, signal) => {
    if (ids.length === 0) return Promise.resolve(new Map());
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => {
        waiting = waiting.filter(request => request !== mine);
        reject(signal.reason as Error);
      };
      const ended = <T>(then: (value: T) => void) => (value: T): void => {
        signal.removeEventListener('abort', onAbort);
        then(value);
      };
      const mine: Request = { ids, resolve: ended(resolve), reject: ended(reject) };
      signal.addEventListener('abort', onAbort, { once: true });
      waiting.push(mine);
      if (!busy) next();
    });
  };
}

/** The first requests that have no more than {@link maxIdsAtOnce} together; never none. */
function atOnce(requests: readonly Request[]): Request[] {
  let ids = 0;
  const count = requests.findIndex((request, index) => (ids += request.ids.length) > maxIdsAtOnce && index > 0);
  return requests.slice(0, count === -1 ? requests.length : count);
}

function foundOf(ids: readonly string[], all: ReadonlyMap<string, StoredPlace[]>): Map<string, StoredPlace[]> {
  const found = new Map<string, StoredPlace[]>();
  for (const id of ids) {
    const places = all.get(id);
    if (places !== undefined) found.set(id, places);
  }
  return found;
}
