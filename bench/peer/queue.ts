/** Group commit by hand: what arrives while a group is on its way goes into the next. */

interface Waiting<T> {
  readonly item: T
  resolve(): void
  reject(error: unknown): void
}

/** `write` is given whole groups, at most so many at the same time. */
export function groupUp<T>(
  inFlight: number,
  write: (items: readonly T[]) => Promise<unknown>,
): (item: T) => Promise<void> {
  let waiting: Waiting<T>[] = []
  let running = 0
  let isScheduled = false

  async function flush(): Promise<void> {
    isScheduled = false
    if (waiting.length === 0 || running === inFlight) return
    const group = waiting
    waiting = []
    running++
    try {
      await write(group.map(({ item }) => item))
      for (const { resolve } of group) resolve()
    } catch (error) {
      for (const { reject } of group) reject(error)
    }
    running--
    schedule()
  }
  /** After whatever is waiting to be called: callers that were just answered ask again at once. */
  function schedule(): void {
    if (isScheduled) return
    isScheduled = true
    setImmediate(flush)
  }
  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject })
      schedule()
    })
}
