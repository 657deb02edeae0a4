/** A subscription at work on a place: what its tests share. */
import { beforeEach } from 'vitest'
import {
  collection,
  type Domain,
  type FeedItem,
  type NewEvent,
  type Subscription,
  type SubscriptionOptions,
} from '../../src/index.ts'
import type { Place, PlaceKind } from '../places.ts'

export const domains = {
  app: { collections: { counts: collection<number>(), notes: collection<string>() } },
} as const
export type App = Domain<NewEvent, { counts: number; notes: string }>
export type Options = SubscriptionOptions<NewEvent, { counts: number; notes: string }>

/** Resolves when a condition holds; fails after 20 s with what was seen instead. */
export async function until(holds: () => unknown, what: () => unknown = () => ''): Promise<void> {
  const since = performance.now()
  while (!(await holds())) {
    if (performance.now() - since > 20_000)
      throw new Error(`Waited for ${holds}: ${JSON.stringify(await what())}`)
    await new Promise((resolve) => setTimeout(resolve, 3))
  }
}

export const data = (item: FeedItem) => (item.kind === 'event' ? item.data : item.kind)

/** An application of its own for each test, and what runs in it until the test ends. */
export class Rig {
  place!: Place
  app!: App
  readonly #stops: (() => Promise<void>)[] = []

  constructor({ make, missing }: PlaceKind) {
    beforeEach(async ({ skip }) => {
      skip(missing !== '', missing)
      this.place = make()
      this.app = await this.openApp()
      return async () => {
        for (const stop of this.#stops.splice(0)) await stop()
      }
    })
  }

  /** As another process has it. */
  async openApp(): Promise<App> {
    return (await this.place.open(domains)).domain('app')
  }

  say(n: unknown, stream = 's') {
    return this.app.log.append(stream, { type: 'said', data: n as never })
  }

  /** Runs it until the test ends, or is stopped. */
  start(subscription: Pick<Subscription, 'run'>) {
    const ending = new AbortController()
    const running = subscription.run({ signal: ending.signal })
    // A test that expects it to fail awaits it; the others hear of a failure when it is stopped.
    void Promise.allSettled([running])
    const stop = async () => {
      ending.abort()
      await running
    }
    this.#stops.push(stop)
    return { stop, running }
  }
}
