/** A list in pieces of at most so many: statements, and what ClickHouse holds of them, have bounds. */
export function* slicesOf<T>(list: readonly T[], most: number): Generator<T[]> {
  for (let at = 0; at < list.length; at += most) yield list.slice(at, at + most);
}
