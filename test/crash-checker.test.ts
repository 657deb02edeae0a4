import { describe, expect, it } from 'vitest'
import { type History, judge, missingOf } from './crash/checker.ts'
import { isWrong } from './crash/proof.ts'
import { makeScript, marksOf, type Operation, positionsOf } from './crash/script.ts'
import { readSyncOrder } from './crash/sync-order.ts'
import { examineAll } from './crash/trial.ts'

const plain = { hasId: false, stream: undefined, events: 0, putsDocument: false, ledger: undefined }
const append: Operation = { ...plain, n: 0, stream: 's', events: 2, removes: undefined }
const transaction: Operation = {
  ...plain,
  n: 1,
  hasId: true,
  stream: 's',
  events: 1,
  putsDocument: true,
  ledger: 'l',
  removes: undefined,
}
const put: Operation = { ...plain, n: 2, putsDocument: true, removes: undefined }
const operations = [append, transaction, put]
const all = new Set([0, 1, 2])

/** What the store holds when these operations were applied, each once. */
function historyOf(applied: readonly Operation[], changed: Partial<History> = {}): History {
  const head = applied.reduce((sum, operation) => sum + positionsOf(operation), 2)
  const events = applied.reduce((sum, operation) => sum + operation.events, 0)
  return {
    marks: new Map(applied.flatMap(marksOf).map((mark) => [mark, 1])),
    positions: Array.from({ length: head }, (_, i) => i + 1),
    head,
    streams: new Map([['s', Array.from({ length: events }, (_, i) => i + 1)]]),
    declarations: 2,
    isSound: true,
    ...changed,
  }
}

/** The marks of a whole history, one of them as often as given. */
function marksWith(mark: string, count: number): Map<string, number> {
  const marks = new Map(historyOf(operations).marks)
  if (count === 0) marks.delete(mark)
  else marks.set(mark, count)
  return marks
}

describe('the crash checker', () => {
  it('finds nothing wrong with a history in which everything is there once', () => {
    expect(judge(operations, all, historyOf(operations))).toEqual({
      lost: [],
      doubled: [],
      half: [],
      faults: [],
    })
  })

  it('finds nothing wrong with the absence of what was not acknowledged', () => {
    const history = historyOf([append, put])
    const verdict = judge(operations, new Set([0, 2]), history)
    expect(verdict).toEqual({ lost: [], doubled: [], half: [], faults: [] })
    expect(missingOf(operations, history)).toEqual([transaction])
  })

  it('reports an acknowledged commit that is not there', () => {
    expect(judge(operations, all, historyOf([append, transaction]))).toMatchObject({
      lost: [2],
      doubled: [],
      half: [],
    })
  })

  it.each(marksOf(transaction))('reports a transaction of which only this is missing: the %s', (mark) => {
    const history = historyOf(operations, { marks: marksWith(mark, 0) })
    expect(judge(operations, new Set([0, 2]), history)).toMatchObject({ lost: [], doubled: [], half: [1] })
    expect(judge(operations, all, history)).toMatchObject({ lost: [1], doubled: [], half: [1] })
  })

  it.each(marksOf(transaction))('reports a transaction of which this is there twice: the %s', (mark) => {
    const history = historyOf(operations, { marks: marksWith(mark, 2) })
    expect(judge(operations, all, history)).toMatchObject({ lost: [], doubled: [1], half: [] })
  })

  it('reports a commit that the script does not have', () => {
    const marks = marksWith('document of operation 7', 1)
    expect(judge(operations, all, historyOf(operations, { marks })).faults).toEqual([
      'document of operation 7 is not of the script',
    ])
  })

  it.each([
    ['a position twice', { positions: [1, 2, 2, 3, 4, 5, 6, 7, 8, 9] }, 'positions out of order'],
    ['a head behind the last position', { positions: [1, 2, 3] }, 'the last position 3'],
    ['a position that no commit took', { head: 11, positions: [11] }, 'take 9 positions'],
    ['a gap in a stream', { streams: new Map([['s', [1, 3]]]) }, 's has the seqs 1 3'],
    ['a digest that differs', { isSound: false }, 'checksums or digest differ'],
  ])('reports %s', (_, changed, fault) => {
    const { faults } = judge(operations, all, historyOf(operations, changed))
    expect(faults).toEqual([expect.stringContaining(fault)])
  })
})

describe('a trial', () => {
  it('whose file cannot be opened is a failure', async () => {
    const job = { url: 'sqlite:.', verbs: 'asynchronous', seed: 1, batches: 1 } as const
    const [trial] = await examineAll([{ job, ended: { acknowledged: [0], wasKilled: true } }])
    expect(trial).toMatchObject({
      verdicts: [{ lost: [0], faults: [expect.stringContaining('a directory')] }],
    })
    expect(trial && isWrong(trial)).toBe(true)
  })
})

describe('the script of the crash test', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(makeScript(5, 'asynchronous', 50)).toEqual(makeScript(5, 'asynchronous', 50))
    expect(makeScript(5, 'asynchronous', 50)).not.toEqual(makeScript(6, 'asynchronous', 50))
  })

  it('has every kind of operation, some at once with others, with and without an id', () => {
    const batches = makeScript(1, 'asynchronous', 150)
    const script = batches.flat()
    expect(batches.some((batch) => batch.length > 4)).toBe(true)
    for (const has of [
      ({ stream, putsDocument }: Operation) => stream !== undefined && !putsDocument,
      ({ stream, putsDocument }: Operation) => stream === undefined && putsDocument,
      ({ stream, ledger }: Operation) => stream === undefined && ledger !== undefined,
      ({ stream, ledger }: Operation) => stream !== undefined && ledger !== undefined,
      ({ removes }: Operation) => removes !== undefined,
      ({ hasId }: Operation) => hasId,
      ({ hasId }: Operation) => !hasId,
    ])
      expect(script.filter(has).length).toBeGreaterThan(5)
  })
})

describe('the reader of syncs from a trace', () => {
  const write = '7 pwrite64(20</tmp/a.db-wal>, "\\0\\1"..., 4096, 56) = 4096'
  const sync = '7 fdatasync(20</tmp/a.db-wal>) = 0'
  const ack = (n: number) => `7 write(1<socket:[5]>, "ack ${n}\\n", 6) = 6`
  const read = (calls: readonly string[], batchOf = (n: number) => n) =>
    readSyncOrder(calls.join('\n'), '/tmp/a.db', batchOf)

  it('finds each acknowledgement behind its sync', () => {
    const order = read([write, sync, ack(0), write, write, sync, ack(1)])
    expect(order).toEqual({ acknowledged: [0, 1], syncs: 2, unsynced: [] })
  })

  it('takes one sync for all of a batch, and not for two batches', () => {
    const calls = [write, sync, ack(0), ack(1), ack(2)]
    expect(read(calls, () => 0).unsynced).toEqual([])
    expect(read(calls, (n) => (n < 2 ? 0 : 1)).unsynced).toEqual([2])
  })

  it.each([
    ['before the sync', [write, ack(0), sync]],
    ['without a sync', [ack(0)]],
    ['after the sync of another file', [write, '7 fsync(19</tmp/a.db>) = 0', ack(0)]],
    ['after a sync that failed', [write, '7 fsync(20</tmp/a.db-wal>) = -1 EIO (Input/output error)', ack(0)]],
    ['between two writes of the log', [write, sync, write, ack(0)]],
  ])('reports an acknowledgement %s', (_, calls) => {
    expect(read(calls).unsynced).toEqual([0])
  })

  it('reads a sync that a call of another thread came between', () => {
    const cut = ['7 fsync(20</tmp/a.db-wal> <unfinished ...>', '8 write(5<pipe:[6]>, "x", 1) = 1']
    expect(read([write, ...cut, '7 <... fsync resumed>) = 0', ack(0)]).unsynced).toEqual([])
    expect(read([write, ...cut, ack(0), '7 <... fsync resumed>) = 0']).unsynced).toEqual([0])
  })
})
