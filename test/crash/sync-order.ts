/** Law 6 from a trace: whether each acknowledgement came after the sync of what it acknowledges. Pure. */

/** What a trace shows of syncs and acknowledgements. */
export interface SyncOrder {
  readonly acknowledged: readonly number[]
  /** Syncs of the write-ahead log that had something to sync. */
  readonly syncs: number
  /** Acknowledged while the log held something not synced, or without any sync since they were asked for. */
  readonly unsynced: readonly number[]
}

/**
 * `batchOf` says which operations were asked for together. One sync may cover several of a batch, but none of two
 * batches: one begins when all of the one before is acknowledged.
 */
export function readSyncOrder(trace: string, database: string, batchOf: (n: number) => number): SyncOrder {
  const log = `${database}-wal`
  const acknowledged: number[] = []
  const unsynced: number[] = []
  let syncs = 0
  let syncsWhenAsked = 0
  let syncsAtLastAck = 0
  let isDirty = false
  for (const { name, file, text, result } of callsOf(trace)) {
    if (file === log && name.includes('write')) isDirty = true
    if (file === log && name.endsWith('sync') && result === 0 && isDirty) {
      isDirty = false
      syncs++
    }
    const n = /^ack (\d+)\\n$/.exec(text)?.[1]
    if (n === undefined) continue
    if (batchOf(Number(n)) !== batchOf(acknowledged.at(-1) ?? -1)) syncsWhenAsked = syncsAtLastAck
    if (isDirty || syncs === syncsWhenAsked) unsynced.push(Number(n))
    acknowledged.push(Number(n))
    syncsAtLastAck = syncs
  }
  return { acknowledged, syncs, unsynced }
}

interface Call {
  readonly name: string
  readonly file: string
  /** What was written, as strace shows it. */
  readonly text: string
  readonly result: number
}

/** The calls of a log of `strace -f -y`. A call that another thread came between is taken when it is resumed: complete. */
function* callsOf(trace: string): Generator<Call> {
  const begun = new Map<string, string>()
  for (const line of trace.split('\n')) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    const unfinished = / <unfinished \.\.\.>$/.exec(rest)
    if (unfinished !== null) begun.set(thread, rest.slice(0, unfinished.index))
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest)
    const whole = resumed === null ? rest : `${begun.get(thread) ?? ''}${resumed[1]}`
    const call = /^(\w+)\(\d+<([^>]*)>(?:, "(.*?)"(?:\.\.\.)?, \d+.*?)?\) += (-?\d+)/.exec(whole)
    if (call === null) continue
    const [, name = '', file = '', text = '', result = ''] = call
    yield { name, file, text, result: Number(result) }
  }
}
