/**
 * A process of an application that routes a ledger: writes to it, or moves it, until it is told to stop; see
 * repository-processes.test.ts. Its argument is a {@link ChildTask} as JSON.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { isUnderpinError, openStore } from '../../../src/index.ts'
import { advance } from './advance.ts'
import { type LedgerAddress, openLedger } from './ledger.ts'
import { routeLedger } from './routed.ts'

export interface ChildTask {
  readonly control: string
  readonly legacy: LedgerAddress
  readonly next: LedgerAddress
  readonly ttlMs: number
  readonly work: 'write' | 'move'
  /** Names the entries of this process. */
  readonly name: string
  /** Dies right behind the write in which it was stopped. */
  readonly isDoomed: boolean
}

export type ChildMessage =
  | 'ready'
  | { readonly acknowledged: string }
  | { readonly unknown: string }
  | { readonly failed: string; readonly code: string }
  | { readonly stalling: string }
  | { readonly step: string }

const { control, legacy, next, ttlMs, work, name, isDoomed } = JSON.parse(process.argv[2] ?? '') as ChildTask
const tell = (message: ChildMessage) => process.send?.(message)
let isOver = false
let mustStall = false
let wasStalled = false
process.on('message', (message: 'stop' | 'stall') => {
  if (message === 'stop') isOver = true
  else mustStall = true
})

/** Gives the parent time to stop this process right before its statement is sent. */
function beforeWrite(key: string): void {
  if (!mustStall) return
  mustStall = false
  wasStalled = true
  tell({ stalling: key })
  const until = performance.now() + 400
  // Busy, so that no timer and no answer gets in between.
  while (performance.now() < until);
}

function isEndedSession(error: unknown): boolean {
  return error instanceof Error && /terminat|not queryable/i.test(error.message)
}

const store = await openStore(control, { domains: { control: {} }, deadlineMs: 30_000 })
const places = [await openLedger(legacy, beforeWrite), await openLedger(next, beforeWrite)] as const
if (isDoomed) {
  const { ledger } = places[0]
  const add = ledger.add.bind(ledger)
  ledger.add = async (...call) => {
    await add(...call)
    if (wasStalled) process.kill(process.pid, 'SIGKILL')
  }
}
const { repository, move, close } = await routeLedger(store.domain('control'), ...places, { ttlMs })
tell('ready')

for (let i = 0; !isOver; i++) {
  const entry = `${name}/${i}`
  try {
    if (work === 'move') await advance(move, (step) => tell({ step }))
    else {
      await repository.add(`key${i % 7}`, entry)
      tell({ acknowledged: entry })
      await pause(1)
    }
  } catch (error) {
    // The server ended the session of a transaction that was stopped for too long: nobody knows what became of it.
    if (work === 'write' && isEndedSession(error)) tell({ unknown: entry })
    else if (!isUnderpinError(error)) throw error
    else if (work === 'write')
      tell(error.code === 'unknown' ? { unknown: entry } : { failed: entry, code: error.code })
    else await pause(20)
  }
}
await close()
await store.close()
for (const place of places) await place.close()
process.disconnect()
