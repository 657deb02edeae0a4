/** Runs the turns of this process, and tells which turns of processes that are gone were interrupted. */
import { randomUUID } from 'node:crypto'
import { deltasFrom, filesOf } from './agent.ts'
import { DeltaWriter } from './delta-writer.ts'
import type { Desk, Dispatched } from './desk.ts'
import { keepRunning } from './keep-running.ts'
import { holdLease, ifDead } from './lease.ts'
import { Refusal } from './refusal.ts'

export interface RunnerOptions {
  readonly leaseMs: number
  /** Told of what fails outside of any call. The process takes no turns then until it has its lease again. */
  readonly onError: (error: unknown) => void
}

interface Run {
  readonly stop: AbortController
  readonly done: Promise<void>
}

/** Why a run ends early. */
type Stop = 'stopped' | 'lease lost' | 'not ours'

export class Runner {
  /** Names this process in the turns that it runs. */
  readonly id = randomUUID()
  readonly #desk: Desk
  readonly #options: RunnerOptions
  readonly #runs = new Map<string, Run>()
  readonly #ending = new AbortController()
  #isTaking = false
  #lease: Promise<void> = Promise.resolve()
  #patrol: Promise<void> = Promise.resolve()

  private constructor(desk: Desk, options: RunnerOptions) {
    this.#desk = desk
    this.#options = options
  }

  /** Resolves when the process has its lease: from then on it takes turns. */
  static async begin(desk: Desk, options: RunnerOptions): Promise<Runner> {
    const runner = new Runner(desk, options)
    try {
      await runner.#begin()
    } catch (error) {
      await runner.stop()
      throw error
    }
    return runner
  }

  /** Whether this process has its lease, and takes turns. */
  get isTaking(): boolean {
    return this.#isTaking
  }

  /** Dispatches a command, with what it means for the turns that run here. */
  async dispatch(input: unknown): Promise<Dispatched> {
    const isRun = isObject(input) && (input.type === 'turn.start' || input.type === 'turn.resume')
    if (isRun && !this.#isTaking)
      throw new Refusal(
        'unavailable',
        'This process takes no turns now: it is stopping, or has lost its lease',
      )
    const done = await this.#desk.dispatch(isObject(input) ? this.#signed(input, isRun) : input)
    const { command } = done
    if (command.type === 'turn.start' || command.type === 'turn.resume') this.#start(command.turnId)
    if (command.type === 'turn.interrupt' || command.type === 'turn.abandon')
      this.#runs.get(command.turnId)?.stop.abort('not ours' satisfies Stop)
    return done
  }

  /** In whose name it is: this process's for a turn that it will run, nobody's else, whatever the caller says. */
  #signed({ runner: _, ...input }: Readonly<Record<string, unknown>>, isRun: boolean): object {
    return isRun ? { ...input, runner: this.id } : input
  }

  /** Resolves when a turn does not run here any more. */
  async finished(turnId: string): Promise<void> {
    await this.#runs.get(turnId)?.done
  }

  /** Interrupts what runs, and gives the lease back. */
  async stop(): Promise<void> {
    await this.#stopRuns('stopped')
    this.#ending.abort()
    await Promise.all([this.#lease, this.#patrol])
  }

  /** Rejects if the process cannot have its lease at all; what fails later is told, and tried again. */
  #begin(): Promise<void> {
    const { leaseMs, onError } = this.#options
    const again = { pauseMs: leaseMs, signal: this.#ending.signal, onFailure: onError }
    return new Promise((resolve, reject) => {
      const onFailure = (error: unknown) => {
        reject(error as Error)
        onError(error)
      }
      this.#lease = keepRunning(() => this.#holdLease(resolve), { ...again, onFailure })
      this.#patrol = keepRunning(() => this.#watchOthers(), again)
    })
  }

  #holdLease(onFirst: () => void): Promise<void> {
    const options = {
      leaseMs: this.#options.leaseMs,
      signal: this.#ending.signal,
      onLost: () => this.#stopRuns('lease lost'),
    }
    return holdLease(this.#desk.runtime, this.id, options, () => {
      this.#isTaking = true
      onFirst()
    })
  }

  async #stopRuns(why: Stop): Promise<void> {
    this.#isTaking = false
    const runs = [...this.#runs.values()]
    for (const { stop } of runs) stop.abort(why)
    await Promise.all(runs.map(({ done }) => done))
  }

  #start(turnId: string): void {
    if (this.#desk.state.turns.get(turnId)?.agent.kind !== 'simulated') return
    const stop = new AbortController()
    const before = this.#runs.get(turnId)?.done ?? Promise.resolve()
    const done = before
      .then(() => this.#run(turnId, stop.signal))
      .catch(this.#options.onError)
      .then(() => {
        if (this.#runs.get(turnId)?.stop === stop) this.#runs.delete(turnId)
      })
    this.#runs.set(turnId, { stop, done })
  }

  async #run(turnId: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#stream(turnId, signal)
    } catch (error) {
      const reason: Stop | undefined = signal.aborted ? signal.reason : undefined
      if (reason === 'not ours' || isTakenAway(error)) return
      const how = reason === undefined ? 'turn.fail' : 'turn.interrupt'
      const why =
        reason === undefined
          ? String(error)
          : `the process ${reason === 'stopped' ? 'was' : 'had its'} ${reason}`
      await this.#end({ type: how, turnId, reason: why, ...(reason === undefined && { runner: this.id }) })
    }
  }

  async #stream(turnId: string, signal: AbortSignal): Promise<void> {
    const runner = this.id
    if (this.#desk.state.turns.get(turnId)?.state === 'requested')
      await this.#desk.dispatch({ type: 'turn.begin', turnId, runner })
    const { agent, messageId } = this.#desk.state.turns.get(turnId) ?? {}
    if (agent?.kind !== 'simulated' || typeof messageId !== 'string') return
    const writer = new DeltaWriter(this.#desk, messageId, runner)
    const from = this.#desk.state.messages.get(messageId)?.deltas ?? 0
    try {
      for await (const text of deltasFrom(agent, from, signal)) writer.push(text)
    } finally {
      await writer.end()
    }
    const checkpoint = { files: filesOf(agent) }
    await this.#desk.dispatch({ type: 'turn.complete', turnId, runner, checkpoint })
  }

  /** The last word on a turn, unless somebody else has had it. */
  async #end(command: object): Promise<void> {
    try {
      await this.#desk.dispatch(command)
    } catch (error) {
      if (!isTakenAway(error)) throw error
    }
  }

  async #watchOthers(): Promise<void> {
    this.#desk.catchUp()
    await Promise.all([...this.#others()].map((other) => this.#watch(other)))
  }

  /** The other processes that have turns under way. */
  #others(): Set<string> {
    const others = new Set<string>()
    for (const [, { runner }] of this.#openTurns())
      if (runner !== null && runner !== this.id) others.add(runner)
    return others
  }

  async #watch(other: string): Promise<void> {
    const options = { leaseMs: this.#options.leaseMs, signal: this.#ending.signal }
    await ifDead(this.#desk.runtime, other, options, async () => {
      this.#desk.catchUp()
      for (const [turnId, { runner }] of this.#openTurns())
        if (runner === other)
          await this.#end({ type: 'turn.interrupt', turnId, reason: 'the process that ran it is gone' })
    })
  }

  #openTurns() {
    const { threads, turns } = this.#desk.state
    return [...threads.values()].flatMap(({ openTurnId }) => {
      const turn = openTurnId === null ? undefined : turns.get(openTurnId)
      if (openTurnId === null || turn === undefined || turn.state === 'interrupted') return []
      return [[openTurnId, turn] as const]
    })
  }
}

/** Somebody else interrupted, abandoned or resumed the turn: it is not ours to say more. */
function isTakenAway(error: unknown): boolean {
  return error instanceof Refusal && (error.code === 'wrong-state' || error.code === 'not-runner')
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
