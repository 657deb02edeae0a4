/** A port as a process has it that dies: behind a commit that the test chooses, nothing answers it any more. */
import type { CallOptions } from '../src/backend/backend.ts'
import { type AnyDomain, portOf } from '../src/facet/domain.ts'
import { ForwardPort } from '../src/facet/forward-port.ts'
import type { Port } from '../src/facet/port.ts'
import type { Commit, Outcome } from '../src/model/commit.ts'

const never = new Promise<never>(() => {})

export class DyingPort extends ForwardPort {
  readonly #isLast: (commit: Commit) => boolean
  #isDead = false
  #resolve = () => {}
  readonly #underWay = new Set<Promise<Outcome>>()
  /** Settles when it is dead, and what it had under way has come to its end: nothing of it changes any more. */
  readonly died = new Promise<void>((resolve) => {
    this.#resolve = resolve
  })

  /** Dies when it has committed what `isLast` says yes to: nobody is told of that commit. */
  constructor(domain: AnyDomain, isLast: (commit: Commit) => boolean) {
    super(portOf(domain))
    this.#isLast = isLast
  }

  die(): void {
    this.#isDead = true
    void Promise.allSettled(this.#underWay).then(() => this.#resolve())
  }

  override async commit(commit: Commit, options?: CallOptions): Promise<Outcome> {
    const outcome = await this.#alive(() => this.#commit(commit, options))
    if (outcome.kind === 'committed' && this.#isLast(commit)) this.die()
    return this.#alive(async () => outcome)
  }

  async #commit(commit: Commit, options: CallOptions | undefined): Promise<Outcome> {
    const committing = super.commit(commit, options)
    this.#underWay.add(committing)
    try {
      return await committing
    } finally {
      this.#underWay.delete(committing)
    }
  }

  override read(...call: Parameters<Port['read']>) {
    return this.#alive(() => super.read(...call))
  }

  override get(...call: Parameters<Port['get']>) {
    return this.#alive(() => super.get(...call))
  }

  override scan(...call: Parameters<Port['scan']>) {
    return this.#alive(() => super.scan(...call))
  }

  override changes(...call: Parameters<Port['changes']>) {
    return this.#alive(() => super.changes(...call))
  }

  override async *watch(signal: AbortSignal) {
    for await (const hint of super.watch(signal)) {
      if (this.#isDead) return
      yield hint
    }
  }

  protected override around(): Port {
    throw new TypeError('A dying port has no transactions of a caller')
  }

  async #alive<R>(run: () => Promise<R>): Promise<R> {
    if (this.#isDead) return never
    const result = await run()
    return this.#isDead ? never : result
  }
}
