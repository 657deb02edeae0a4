/** Holds what was handled against what is in the store when all is quiet. */

/** An event that was to be handled, and the key within which order matters. */
export interface Wanted {
  readonly position: number
  readonly key: string
}

export interface Verdict {
  readonly delivered: number
  readonly missing: number
  readonly doubled: number
  /** Handled for the first time though an earlier one of the key had not been handled yet. */
  readonly outOfOrder: number
  /** Handled though it was never committed: rolled back, say. */
  readonly foreign: number
}

/** `handled`: positions in the order of handling. */
export function judge(wanted: readonly Wanted[], handled: readonly number[]): Verdict {
  const keys = new Map(wanted.map(({ position, key }) => [position, key]))
  const lines = new Map<string, number[]>()
  for (const { position, key } of wanted) lines.set(key, [...(lines.get(key) ?? []), position])
  const seen = new Set<number>()
  let [doubled, outOfOrder, foreign] = [0, 0, 0]
  for (const position of handled) {
    const line = lines.get(keys.get(position) ?? '')
    if (!keys.has(position) || line === undefined) foreign++
    else if (seen.has(position)) doubled++
    else {
      seen.add(position)
      if (line[0] !== position) outOfOrder++
      line.splice(line.indexOf(position), 1)
    }
  }
  return { delivered: handled.length, missing: keys.size - seen.size, doubled, outOfOrder, foreign }
}
