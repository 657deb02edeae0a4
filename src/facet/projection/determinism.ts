/** Notices a step that reads a clock or draws randomness: their sources are replaced while steps run, synchronously. */
import nodeCrypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'

/** Runs `work` with every clock and source of randomness replaced; `asked` is told the name of each that is used. */
export function watched<R>(shift: number, asked: (name: string) => void, work: () => R): R {
  const restore: (() => void)[] = []
  const replace = (target: object, name: string, value: unknown) => {
    const before = Object.getOwnPropertyDescriptor(target, name)
    Object.defineProperty(target, name, { value, configurable: true, writable: true })
    restore.push(() => {
      if (before === undefined) Reflect.deleteProperty(target, name)
      else Object.defineProperty(target, name, before)
    })
  }
  const watch = (target: object, name: string, title: string, answer: () => unknown) =>
    replace(target, name, () => {
      asked(title)
      return answer()
    })
  try {
    replace(globalThis, 'Date', watchedDate(shift, asked))
    watch(Math, 'random', 'Math.random', () => 0.25 + shift / 4)
    watch(performance, 'now', 'performance.now', () => 1_000 + shift)
    watchHrtime(replace, asked, shift)
    const uuid = () => `00000000-0000-4000-8000-00000000000${shift}`
    watch(globalThis.crypto, 'randomUUID', 'crypto.randomUUID', uuid)
    replace(globalThis.crypto, 'getRandomValues', (array: Uint8Array) => {
      asked('crypto.getRandomValues')
      return array.fill(shift)
    })
    watch(nodeCrypto, 'randomUUID', 'crypto.randomUUID', uuid)
    watch(nodeCrypto, 'randomInt', 'crypto.randomInt', () => shift)
    replace(nodeCrypto, 'randomBytes', (size: number) => {
      asked('crypto.randomBytes')
      return Buffer.alloc(size, shift)
    })
    syncBuiltinESMExports()
    return work()
  } finally {
    for (const undo of restore.reverse()) undo()
    syncBuiltinESMExports()
  }
}

function watchHrtime(
  replace: (target: object, name: string, value: unknown) => void,
  asked: (name: string) => void,
  shift: number,
): void {
  const hrtime = () => {
    asked('process.hrtime')
    return [1, shift]
  }
  hrtime.bigint = () => {
    asked('process.hrtime')
    return BigInt(shift)
  }
  replace(process, 'hrtime', hrtime)
}

/** Dates made from a value are pure; those made from nothing are the clock. */
function watchedDate(shift: number, asked: (name: string) => void): DateConstructor {
  const at = 1_000_000_000_000 + shift * 86_400_000
  const RealDate = Date
  return new Proxy(RealDate, {
    construct(target, args, newTarget) {
      if (args.length > 0) return Reflect.construct(target, args, newTarget)
      asked('new Date()')
      return Reflect.construct(target, [at], newTarget)
    },
    apply() {
      asked('Date()')
      return new RealDate(at).toString()
    },
    get(target, name) {
      if (name !== 'now') return Reflect.get(target, name)
      return () => {
        asked('Date.now')
        return at
      }
    },
  })
}
