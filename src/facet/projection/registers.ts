/** The registers of a domain as its appends go by them: which projections they keep current, and what they depend on. */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import type { Check } from '../../model/check.ts'
import type { Port } from '../port.ts'
import type { Projection } from './definition.ts'
import { type Build, isKept, type Register, readRegister, registerCheck, registers } from './register.ts'
import { isLive, switchOn } from './switch-on.ts'

/** What every append does. */
export interface Standing {
  readonly live: readonly { readonly projection: Projection; readonly id: string }[]
  readonly checks: readonly Check[]
}

const drainPollMs = 10
/** A switch that lasts longer was left by a process that died: it is finished here. */
const helpAfterMs = 500

export class Registers {
  readonly #declared: readonly Projection[]
  readonly #names: ReadonlySet<string>
  readonly #isIsolated: boolean
  #standing: Standing | undefined

  /** `names`: the projections that are inline, declared by this process or not. */
  constructor(declared: readonly Projection[], names: Iterable<string>, isIsolated = false) {
    this.#declared = declared
    this.#names = new Set(names)
    this.#isIsolated = isIsolated
  }

  /** For a transaction of the caller, which sees the registers as they are there. */
  isolated(): Registers {
    return new Registers(this.#declared, this.#names, true)
  }

  isOne(collection: string, id: string): boolean {
    return collection === registers && this.#names.has(id)
  }

  /** As last read; undefined if that is to be done. */
  standing(): Standing | undefined {
    return this.#standing
  }

  forget(): void {
    this.#standing = undefined
  }

  /** Reads the registers; waits while one is being switched. `mismatch` if this process lacks a projection that is inline. */
  async settle(port: Port, options: CallOptions & { readonly since: number }): Promise<Standing> {
    const began = port.clock.monotonic()
    for (;;) {
      const found = await Promise.all([...this.#names].map((name) => readRegister(port, name, options)))
      const switching = found.find((register) => Object.values(register.builds).some(isDraining))
      if (switching === undefined) {
        const live = found.flatMap((register) => this.#liveOf(register))
        this.#standing = { live, checks: found.map(registerCheck) }
        return this.#standing
      }
      await this.#wait(port, switching, began, options)
    }
  }

  #liveOf(register: Register) {
    return Object.entries(register.builds)
      .filter(([, build]) => isLive(build))
      .map(([id, build]) => ({ projection: this.#declaredAs(register.name, build.version), id }))
  }

  #declaredAs(name: string, version: number): Projection {
    const found = this.#declared.find((each) => each.name === name && each.version === version)
    if (found !== undefined) return found
    throw new UnderpinError(
      'mismatch',
      `Projection ${name} version ${version} is kept in the commits of this domain, and this process does not declare it: its appends would leave it out`,
      { hint: 'Declare it where the store is opened (projections: { inline: […] }), or retire it.' },
    )
  }

  async #wait(
    port: Port,
    { name, builds }: Register,
    began: number,
    { since, signal }: CallOptions & { readonly since: number },
  ): Promise<void> {
    const now = port.clock.monotonic()
    const leftMs = port.deadlineMs - (now - since)
    if (this.#isIsolated || leftMs <= 0)
      throw new UnderpinError('unavailable', `Projection ${name} is being switched on; nothing was written`, {
        hint: 'Try again: it takes a moment.',
      })
    if (signal?.aborted)
      throw new UnderpinError('aborted', 'The append was aborted', { cause: signal.reason })
    const version = Object.values(builds).find(isDraining)?.version
    const projection = this.#declared.find((each) => each.name === name && each.version === version)
    if (projection !== undefined && now - began > helpAfterMs)
      await this.#help(port, projection, leftMs, signal)
    else await sleep(port.clock, drainPollMs, signal)
  }

  async #help(
    port: Port,
    projection: Projection,
    leftMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const over = new AbortController()
    const cancel = port.clock.timer(leftMs, () => over.abort())
    try {
      const either = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
      await switchOn(port, projection, this.#declared, either)
    } finally {
      cancel()
    }
  }
}

function isDraining(build: Build): boolean {
  return build.stage === 'draining' && isKept(build)
}
