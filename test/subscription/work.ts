/** What writers and consumers of the kill tests do, in processes of their own or, on memory, within the test's. */
import { setTimeout as pause } from 'node:timers/promises'
import { type Domain, type FeedItem, type NewEvent, openStore } from '../../src/index.ts'
import type { Random } from './random.ts'

export const partitions = 4
const domains = { app: { collections: { sums: {} } } } as const
export type App = Domain<NewEvent>

export async function openApp(target: Parameters<typeof openStore>[0]) {
  return openStore(target, { domains, deadlineMs: 30_000 })
}

/** The streams with the effects of each subscription: what was handled, in the order of handling. */
export const effects = { single: 'out-single', group: 'out-group', least: 'out-least' } as const
export type Which = keyof typeof effects

const positionOf = (item: FeedItem) => ({ type: 'handled', data: item.position })

/** The three subscriptions that every consumer runs. */
export function subscriptions(app: App, ttlMs: number, tell: (which: Which) => void = () => {}) {
  const common = { filter: { streams: 'in-' }, ttlMs, batch: 20, retry: { firstMs: 5 } } as const
  return {
    single: app.subscription({
      ...common,
      name: 'single',
      mode: 'exactly-once',
      handle(item, { tx }) {
        tx.append(effects.single, positionOf(item))
        tell('single')
      },
    }),
    group: app.subscription({
      ...common,
      name: 'group',
      mode: 'exactly-once',
      partitions,
      async handleBatch(items, { tx, partition }) {
        tx.append(effects.group, items.map(positionOf))
        const sum = await tx.get('sums', `${partition}`)
        tx.put('sums', `${partition}`, Number(sum?.value ?? 0) + items.length)
        tell('group')
      },
    }),
    least: app.subscription({
      ...common,
      name: 'least',
      saveEveryMs: 20,
      async handle(item) {
        await app.log.append(effects.least, positionOf(item))
        tell('least')
      },
    }),
  }
}

/** Runs all three until the signal aborts. */
export async function consume(
  app: App,
  ttlMs: number,
  signal: AbortSignal,
  tell: (which: Which) => void,
): Promise<void> {
  const { single, group, least } = subscriptions(app, ttlMs, tell)
  await Promise.all([single.run({ signal }), group.run({ signal }), least.run({ signal })])
}

/** Commits to a few streams, now and then late, now and then rolled back after the positions were taken, until the signal aborts. */
export async function write(
  app: App,
  signal: AbortSignal,
  random: Random,
  canRollBack: boolean,
  isAsync: boolean,
): Promise<{ commits: number; rollbacks: number }> {
  const done = { commits: 0, rollbacks: 0 }
  while (!signal.aborted) {
    await pause(random.below(600))
    const count = 1 + random.below(3)
    const events = Array.from({ length: count }, () => ({ type: 'happened', data: random.below(1_000) }))
    const stream = `in-${random.below(12)}`
    if (random.below(5) > 0) {
      await app.log.append(stream, events)
      done.commits++
      continue
    }
    await rolledBack(app, stream, events, canRollBack, isAsync ? random.below(8) : 0)
    done.rollbacks++
  }
  return done
}

async function rolledBack(
  app: App,
  stream: string,
  events: NewEvent[],
  canRollBack: boolean,
  ms: number,
): Promise<void> {
  const failure = new Error('rolled back')
  const refuse = () => {
    throw failure
  }
  try {
    await app.transaction((tx) => {
      tx.append(stream, events)
      if (!canRollBack) refuse()
      tx.tables(() => (ms === 0 ? refuse() : pause(ms).then(refuse)))
    })
  } catch (error) {
    if (error !== failure) throw error
  }
}
