/** Records what concurrent callers of several stores ask of a few keys, and what they are told: histories to check. */
import { isUnderpinError, openStore, type Target } from '../../src/index.ts'
import type { Answer, Call, Expectation, Operation } from './checker.ts'

const domains = { app: { collections: { things: {} } } } as const
export const openRegisters = (target: Target, deadlineMs = 30_000) =>
  openStore(target, { domains, deadlineMs })
export type RegisterStore = Awaited<ReturnType<typeof openRegisters>>

/** One register of a history: a document, or the end of a stream. */
export interface Key {
  readonly kind: 'document' | 'stream'
  readonly name: string
}

export interface History {
  readonly keys: ReadonlyMap<Key, readonly Operation[]>
  /** Calls that failed and say that they wrote nothing: what they would have written must never be seen. */
  readonly failed: number
  readonly unknown: number
}

export interface Script {
  readonly keys: readonly Key[]
  readonly operations: number
  /** Callers of each store. */
  readonly callers: number
  readonly random: () => number
}

/** The one clock: every call and every answer in this process has its own moment. */
let moments = 0
let values = 0

/** Has the callers of all stores do so many operations in all, each caller one after another. */
export async function recordHistory(stores: readonly RegisterStore[], script: Script): Promise<History> {
  const keys = new Map<Key, Operation[]>(script.keys.map((key) => [key, []]))
  let [left, failed, unknown] = [script.operations, 0, 0]
  /** The last revision that anybody was told of, so that expectations are true often enough. */
  const seen = new Map<Key, number>()
  const caller = async (store: RegisterStore) => {
    while (left-- > 0) {
      const key = script.keys[Math.floor(script.random() * script.keys.length)] as Key
      const call = choose(key, seen.get(key) ?? 0, script.random)
      const from = moments++
      const answer = await ask(store, key, call)
      const to = answer?.kind === 'unknown' ? Number.POSITIVE_INFINITY : moments++
      if (answer === undefined) failed++
      else if (answer.kind !== 'unknown' || call.kind === 'write')
        keys.get(key)?.push({ from, to, call, answer })
      if (answer?.kind === 'unknown') unknown++
      const revision = revisionIn(call, answer)
      if (revision !== undefined) seen.set(key, revision)
    }
  }
  await Promise.all(stores.flatMap((store) => Array.from({ length: script.callers }, () => caller(store))))
  return { keys, failed, unknown }
}

/** Two reads for every three writes; of these most expect something, and that is true about as often as not. */
export function choose({ kind }: Key, revision: number, random: () => number): Call {
  const dice = random()
  if (dice < 0.4) return { kind: 'read' }
  const value = kind === 'document' && random() < 0.15 ? null : ++values
  if (dice < 0.55) return { kind: 'write', value }
  const expect: Expectation = dice < 0.9 ? revision : dice < 0.95 ? 'absent' : 'present'
  return { kind: 'write', value, expect: expect === 0 ? 'absent' : expect }
}

/** What came of it; undefined if the call failed, saying that nothing was written. */
export async function ask(store: RegisterStore, key: Key, call: Call): Promise<Answer | undefined> {
  try {
    return key.kind === 'document'
      ? await askDocument(store, key.name, call)
      : await askStream(store, key.name, call)
  } catch (error) {
    if (isUnderpinError(error, 'conflict')) {
      const [{ found }] = error.details.failed as readonly [{ found: number }]
      return { kind: 'conflict', found }
    }
    if (isUnderpinError(error, 'unknown')) return { kind: 'unknown' }
    if (isUnderpinError(error) && error.retryable) return undefined
    throw error
  }
}

async function askDocument(store: RegisterStore, id: string, call: Call): Promise<Answer> {
  const things = store.domain('app').documents('things')
  if (call.kind === 'read') {
    const found = await things.get(id)
    return {
      kind: 'found',
      revision: found?.revision ?? 0,
      value: (found?.value as number | undefined) ?? null,
    }
  }
  const options = call.expect === undefined ? {} : { expect: call.expect }
  const { position } = await (call.value === null
    ? things.delete(id, options)
    : things.put(id, call.value, options))
  return { kind: 'written', revision: position }
}

async function askStream(store: RegisterStore, stream: string, call: Call): Promise<Answer> {
  const { log } = store.domain('app')
  if (call.kind === 'read') {
    const [last] = (await log.read(stream, { backwards: true, limit: 1 })).events
    return { kind: 'found', revision: last?.seq ?? 0, value: (last?.data as number | undefined) ?? null }
  }
  const words = { absent: 'none', present: 'some' } as const
  const expect = typeof call.expect === 'string' ? words[call.expect] : call.expect
  const options = expect === undefined ? {} : { expect }
  const { seqs } = await log.append(stream, { type: 'wrote', data: call.value }, options)
  return { kind: 'written', revision: seqs[0] as number }
}

export function revisionIn(call: Call, answer: Answer | undefined): number | undefined {
  switch (answer?.kind) {
    case 'found':
      return answer.revision
    case 'conflict':
      return answer.found
    case 'written':
      return call.kind === 'write' && call.value === null ? 0 : answer.revision
    default:
      return undefined
  }
}
