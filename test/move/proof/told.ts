/** What the callers of the proof are told, one entry each: kept where a process that is killed cannot take it along. */
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Call, Operation } from '../../linearizability/checker.ts'
import type { Key } from '../../linearizability/record.ts'
import type { Seen } from '../../process/tasks.ts'

export type Told =
  /** A write is about to be asked for. */
  | { readonly kind: 'asked'; readonly mark: string; readonly stream: string }
  /** It was acknowledged. */
  | {
      readonly kind: 'done'
      readonly mark: string
      readonly position: number
      readonly seq: number
    }
  /** A call failed. `mark` is that of the write, if it was one. */
  | {
      readonly kind: 'failed'
      readonly what: string
      readonly mark?: string
      readonly code: string
      readonly message: string
    }
  /** A step of a register's history is about to be taken. */
  | {
      readonly kind: 'begun'
      readonly mark: string
      readonly key: Key
      readonly from: number
      readonly call: Call
    }
  /** It was answered. */
  | { readonly kind: 'register'; readonly mark: string; readonly key: Key; readonly operation: Operation }
  /** All that a reader of the feed was given, from its start to the end mark. */
  | { readonly kind: 'seen'; readonly seen: Seen }
  /** The answer to an operation that others asked for too. */
  | { readonly kind: 'once'; readonly operation: number; readonly value: string; readonly isReplay: boolean }
  | { readonly kind: 'enqueued'; readonly n: number; readonly id: string }

export type Tell = (entry: Told) => void

/** A moment on the clock that all processes of the machine share, in nanoseconds since it was started. */
export const moment = (): number => Number(process.hrtime.bigint())

/** Tells to a file: what was written is there also when the process is killed in the next moment. */
export function tellFile(path: string): Tell {
  const file = openSync(path, 'a')
  return (entry) => {
    writeSync(file, `${JSON.stringify(entry)}\n`)
  }
}

/** All that was told into a folder. A last line that the kill cut off was told to nobody. */
export function toldIn(folder: string): Told[] {
  return readdirSync(folder)
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1))
    .map((line) => revive(JSON.parse(line) as Told))
}

/** JSON has no infinity, which is when an unknown outcome comes to be at the latest. */
function revive(entry: Told): Told {
  if (entry.kind !== 'register' || entry.operation.to !== null) return entry
  return { ...entry, operation: { ...entry.operation, to: Number.POSITIVE_INFINITY } }
}
