/**
 * One process of the application: some callers, each of which commits a note and how far it has come, again and again.
 * Says on its standard output what was acknowledged and how long it took. It knows both stores and nothing of a move.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { type Domain, openStore } from 'underpin'
import { deadlineMs, domainName, domains, type Note, type Places, type Progress, streamOf } from './model.ts'

export interface WriterJob {
  readonly places: Places
  readonly writer: number
  readonly callers: number
  /** Milliseconds that a caller rests between two commits. */
  readonly restMs: number
}

/** What a writer says: of one acknowledged commit, its caller and number, and the milliseconds it took. */
export type Acknowledgement = readonly [caller: number, n: number, ms: number]

await main(JSON.parse(process.argv[2] ?? '') as WriterJob)

async function main({ places, writer, callers, restMs }: WriterJob): Promise<void> {
  const store = await openStore({ ...places }, { domains, deadlineMs })
  const stop = new AbortController()
  // The parent ends it by closing its standard input; so does a parent that dies.
  process.stdin.once('end', () => stop.abort()).resume()
  const domain = store.domain(domainName)
  await Promise.all(
    Array.from({ length: callers }, (_, caller) =>
      call(domain, streamOf(writer, caller), restMs, stop.signal, (n, ms) => say([caller, n, ms])),
    ),
  )
  await store.close()
}

async function call(
  domain: Domain<Note, { progress: Progress }>,
  stream: string,
  restMs: number,
  signal: AbortSignal,
  acknowledged: (n: number, ms: number) => void,
): Promise<void> {
  for (let n = 1; !signal.aborted; n++) {
    const since = performance.now()
    await domain.transaction(async (tx) => {
      tx.append(stream, { type: 'noted', data: { n, text: 'a line of an order, as long as such lines are' } })
      tx.put('progress', stream, { n })
    })
    acknowledged(n, performance.now() - since)
    await pause(restMs)
  }
}

function say(line: Acknowledgement): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
