/** The registers of a domain as its appends go by them: which projections they keep current, and what they depend on. */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { Check } from '../../model/check.ts'
import type { Port } from '../port.ts'
import type { Projection } from './definition.ts'
import { type Register, readRegister, registerCheck, registers } from './register.ts'
import { isPassing } from './run.ts'
import { drainingOf, isLive, takeBack } from './switch-on.ts'

/** What every append does. */
export interface Standing {
  readonly live: readonly { readonly projection: Projection; readonly id: string }[]
  readonly checks: readonly Check[]
}

const drainPollMs = 10

export class Registers {
  readonly #declared: readonly Projection[]
  readonly #names: ReadonlySet<string>
  readonly #outside: ((name: string) => void) | undefined
  #standing: Standing | undefined
  /** Looks after a switch that its process may have died in, for all appends that wait. */
  #watching: Promise<void> | undefined
  #trouble: unknown

  /** `names`: the projections that are inline, declared by this process or not. */
  constructor(declared: readonly Projection[], names: Iterable<string>, outside?: (name: string) => void) {
    this.#declared = declared
    this.#names = new Set(names)
    this.#outside = outside
  }

  /** For a transaction of the caller, which sees the registers as they are there; `port` is the one outside of it. */
  isolated(port: Port): Registers {
    return new Registers(this.#declared, this.#names, (name) => this.#watch(port, name))
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
    for (;;) {
      const found = await Promise.all([...this.#names].map((name) => readRegister(port, name, options)))
      const switching = found.find((register) => drainingOf(register) !== undefined)
      if (switching === undefined) {
        const live = found.flatMap((register) => this.#liveOf(register))
        this.#standing = { live, checks: found.map(registerCheck) }
        return this.#standing
      }
      await this.#wait(port, switching.name, options)
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
    name: string,
    { since, signal }: CallOptions & { readonly since: number },
  ): Promise<void> {
    const isLate = port.clock.monotonic() - since >= port.deadlineMs
    // A transaction of the caller would wait with locks, and for what it may not see.
    this.#outside?.(name)
    if (this.#outside !== undefined || isLate)
      throw new UnderpinError('unavailable', `Projection ${name} is being switched on; nothing was written`, {
        hint: 'Try again: it takes a moment.',
      })
    if (signal?.aborted)
      throw new UnderpinError('aborted', 'The append was aborted', { cause: signal.reason })
    this.#watch(port, name)
    const trouble = this.#trouble
    this.#trouble = undefined
    if (trouble !== undefined) throw trouble
    await sleep(port.clock, drainPollMs, signal)
  }

  /** Beyond one append: the lease of who died lasts longer than the deadline of some. */
  #watch(port: Port, name: string): void {
    this.#watching ??= takeBack(port, name)
      .catch((error: unknown) => {
        // Whoever waits begins it again, and meets what the store says to that.
        if (!isPassing(error) && !isUnderpinError(error, 'closed')) this.#trouble = error
      })
      .finally(() => {
        this.#watching = undefined
      })
  }
}
