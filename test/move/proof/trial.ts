/** A trial: a domain is moved under writers, something dies at a moment, and one command is to put it right. */
import { setTimeout as pause } from 'node:timers/promises'
import {
  type Backend,
  type Domains,
  isUnderpinError,
  openStore,
  type Store,
  UnderpinError,
} from '../../../src/index.ts'
import { Forward } from '../../../src/wrapper/forward.ts'
import { type Accepted, forksIn, Noting, watchAuthorities } from './authorities.ts'
import { Fate, type Moment } from './fate.ts'
import { judge } from './judge.ts'
import type { Told } from './told.ts'
import { drive, isVerb, resolve, strand, type Verb, type Way } from './way.ts'

export type Victim = 'coordinator' | 'writer' | 'source server' | 'target server'

export interface Case {
  readonly domain: string
  readonly way: Way
  /** Nothing dies if left out. */
  readonly moment?: Moment
  readonly victim: Victim
  /** The one command takes the move back, instead of going on with it. */
  readonly takesBack: boolean
  /** Ends a server at once and starts it again; for victims that are one. */
  readonly restart?: () => Promise<void>
}

export interface Trial {
  /** What was driven, the step, and before or after it. */
  readonly point: string
  readonly victim: Victim
  readonly hasStruck: boolean
  /** The names of all calls that change what stays. */
  readonly calls: readonly string[]
  readonly acknowledged: number
  /** Why it was not put right by one command; empty if it was. */
  readonly stuck: string
  /** Acknowledged writes that are lost, doubled, out of order or untrue. */
  readonly wrong: number
  readonly doubleAuthorities: number
}

export interface Sides {
  readonly a: Backend
  readonly b: Backend
}

const writers = 3
/** Milliseconds within which every writer has to go on. */
const patienceMs = 8_000

export async function attempt({ a, b }: Sides, one: Case): Promise<Trial> {
  const { domain, way, moment, victim } = one
  const accepted: Accepted[] = []
  const [left, right] = [
    new Refusing(new Noting(a, 'a', accepted)),
    new Refusing(new Noting(b, 'b', accepted)),
  ]
  const domains = { [domain]: {} }
  const app = await openStore({ a: left, b: right }, { domains, deadlineMs: 20_000 })
  const doomed = new Doomed()
  const fate = new Fate(moment, async () => {
    if (victim === 'coordinator') return 'ends'
    if (victim === 'writer') doomed.kill()
    else await one.restart?.()
    return 'goes on'
  })
  const scene = new Writers(app, domain)
  await scene.begin()
  if (victim === 'writer')
    scene.start(await openStore({ a: doomed.over(left), b: doomed.over(right) }, { domains }), 'doomed')
  const ending = new AbortController()
  const watching = watchAuthorities({ a, b }, domain, ending.signal, () => pause(1))
  const operator = await openStore(
    { a: fate.over(left), b: fate.over(right) },
    { domains, create: false, deadlineMs: 20_000 },
  )
  let interrupted: Verb = 'start'
  const driving = (async () => {
    for (const step of way) {
      // A caller who waits would open the target before it is given up.
      if (step === 'strand') await scene.rest(() => strand(domain, a, b))
      else if (!isVerb(step)) left.refusesBehindSeal = true
      else {
        fate.verb = step
        interrupted = step
        const move = await operator.move(domain, { from: 'a', to: 'b' })
        await drive(move, step).catch((error: unknown) => {
          // That is what the way asks for.
          if (!left.refusesBehindSeal || !isUnderpinError(error, 'gate')) throw error
        })
        left.refusesBehindSeal = false
      }
    }
  })()
  const failure = await Promise.race([
    fate.ended.then(() => 'ended'),
    driving.then(
      () => '',
      (error: unknown) => String(error),
    ),
  ])
  left.refusesBehindSeal = false
  let stuck = ''
  if (failure !== '') {
    const move = await app.move(domain, { from: 'a', to: 'b' })
    stuck = await resolve(move, interrupted, one.takesBack).catch((error: unknown) => `failed: ${error}`)
    if (stuck !== '' && failure !== 'ended') stuck += ` (behind ${failure})`
  }
  if (!(await scene.goesOn(patienceMs))) stuck += ' no writer goes on'
  ending.abort()
  const { doubles } = await watching
  await scene.end()
  const verdict = judge(scene.told, { items: await scene.items(), jobs: [] })
  const { lost, doubled, reordered, untrue } = verdict
  return {
    point: moment === undefined ? '' : `${moment.when} ${fate.calls[moment.nth - 1] ?? 'the end'}`,
    ...{ victim, hasStruck: fate.hasStruck, calls: fate.calls, stuck },
    acknowledged: scene.told.filter(({ kind }) => kind === 'done').length,
    wrong: lost + doubled + reordered + untrue,
    doubleAuthorities: doubles + forksIn(accepted),
  }
}

/** Some who write, each one commit after the other. */
class Writers {
  readonly told: Told[] = []
  readonly #store: Store<Domains>
  readonly #domain: string
  readonly #ending = new AbortController()
  readonly #writing: Promise<void>[] = []
  readonly #done: number[] = []
  #underWay = 0
  #resting: Promise<void> | undefined

  constructor(store: Store<Domains>, domain: string) {
    this.#store = store
    this.#domain = domain
  }

  /** Something is there already, in several pages. */
  async begin(): Promise<void> {
    const { log } = this.#store.domain(this.#domain)
    for (let i = 0; i < 3; i++)
      await log.append(
        'old',
        Array.from({ length: 10 }, () => ({ type: 'old', data: i })),
      )
    for (let w = 0; w < writers; w++) this.start(this.#store, String(w))
  }

  start(store: Store<Domains>, name: string): void {
    const isDoomed = name === 'doomed'
    const w = isDoomed ? -1 : this.#done.push(0) - 1
    const writing = this.#write(store.domain(this.#domain), name, () => {
      if (w >= 0) this.#done[w] = (this.#done[w] ?? 0) + 1
    })
    // Whoever dies in the middle of a call ends never.
    if (!isDoomed) this.#writing.push(writing)
  }

  async #write(domain: ReturnType<Store<Domains>['domain']>, name: string, count: () => void): Promise<void> {
    const stream = `s-${name}`
    for (let n = 0; !this.#ending.signal.aborted; n++) {
      while (this.#resting !== undefined) await this.#resting
      const mark = `${name}/${n}`
      this.#underWay++
      this.told.push({ kind: 'asked', mark, stream })
      try {
        const { positions, seqs } = await domain.log.append(stream, { type: 'wrote', data: mark })
        this.told.push({ kind: 'done', mark, position: positions[0] as number, seq: seqs[0] as number })
        count()
      } catch (error) {
        const code = isUnderpinError(error) ? error.code : 'none'
        this.told.push({ kind: 'failed', what: 'write', mark, code, message: String(error) })
      }
      this.#underWay--
      await pause(2)
    }
  }

  /** Does something while nobody writes. */
  async rest(work: () => Promise<void>): Promise<void> {
    let wake = () => {}
    this.#resting = new Promise((resolve) => (wake = resolve))
    // Who dies in the middle of a call is under way for ever.
    for (const until = performance.now() + 1_000; this.#underWay > 0 && performance.now() < until; )
      await pause(1)
    await work()
    this.#resting = undefined
    wake()
  }

  /** Whether every writer is acknowledged twice more: the second of these was asked for since. */
  async goesOn(withinMs: number): Promise<boolean> {
    const before = [...this.#done]
    for (const until = performance.now() + withinMs; performance.now() < until; await pause(2))
      if (this.#done.every((count, i) => count >= (before[i] ?? 0) + 2)) return true
    return false
  }

  async end(): Promise<void> {
    this.#ending.abort()
    await Promise.all(this.#writing)
  }

  async items() {
    const items = []
    const domain = this.#store.domain(this.#domain)
    for (let [after, head] = [0, 1]; after < head; ) {
      const page = await domain.changes({ after })
      items.push(...page.items)
      ;[after, head] = [page.next, page.head]
    }
    return items
  }
}

/** The backends of a process that dies: half of what it has in hand arrives, and it hears of nothing any more. */
class Doomed {
  #isDead = false
  #calls = 0

  kill(): void {
    this.#isDead = true
  }

  over(backend: Backend): Backend {
    const silence = () => new Promise<never>(() => {})
    const isDead = () => this.#isDead
    const isSent = () => ++this.#calls % 2 === 0
    return new (class extends Forward {
      override async commit(...call: Parameters<Backend['commit']>) {
        if (isDead() && !isSent()) return silence()
        const outcomes = await this.inner.commit(...call)
        return isDead() ? silence() : outcomes
      }
    })(backend)
  }
}

/** Hands out no feed while it is sealed, if it is told so: a cutover that cannot be completed. */
class Refusing extends Forward {
  refusesBehindSeal = false

  override async changes(...call: Parameters<Backend['changes']>) {
    if (this.refusesBehindSeal && (await this.inner.fence(call[0])).role === 'sealed')
      throw new UnderpinError('gate', 'Planted: no feed behind the seal')
    return this.inner.changes(...call)
  }
}
