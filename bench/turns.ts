/** Runs that are compared, a slice of each at a time, so that a slow moment of the machine falls on all of them. */

/** What the slices of a run came to, in the order in which they were taken. */
export class Slices {
  readonly taken: number[] = []

  get middle(): number {
    return quantile(this.taken, 0.5)
  }

  /** Of the middle half. */
  get spread(): readonly [number, number] {
    return [quantile(this.taken, 0.25), quantile(this.taken, 0.75)]
  }

  /** Together with another run of the same. */
  with(other: Slices): Slices {
    const both = new Slices()
    both.taken.push(...this.taken.map((value, turn) => value + (other.taken[turn] ?? Number.NaN)))
    return both
  }

  /** Against another, turn by turn: what a slow moment of the machine does to one, it does to its neighbours. */
  against(other: Slices): number {
    return quantile(
      this.taken.map((value, turn) => value / (other.taken[turn] ?? Number.NaN)),
      0.5,
    )
  }
}

function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN
}

/** Runs each of them for a slice at a time, in turns. */
export async function inTurns<K extends string>(
  runs: Readonly<Record<K, () => Promise<number>>>,
  slices: number,
): Promise<Record<K, Slices>> {
  const names = Object.keys(runs) as K[]
  const found = Object.fromEntries(names.map((name) => [name, new Slices()])) as Record<K, Slices>
  for (let slice = 0; slice < slices; slice++) {
    // Everybody begins in turn, and every second time it goes backwards: nobody always runs behind the same neighbour.
    const order = names.map((_, i) => names[(i + slice) % names.length] as K)
    for (const name of slice % 2 === 0 ? order : order.reverse()) found[name].taken.push(await runs[name]())
  }
  return found
}
