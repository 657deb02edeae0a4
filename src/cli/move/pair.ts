/** Both stores of a move, opened under the names of its two sides, and the domains that are meant. */
import {
  type Backend,
  type DomainOptions,
  isUnderpinError,
  type Move,
  type MoveStatus,
  type Moves,
  maskSecrets,
  openStore,
  type Store,
  UnderpinError,
} from '../../index.ts'
import {
  checkedUrl,
  deadlineMs,
  domainNeeded,
  type GlobalFlags,
  isMissing,
  isPostgres,
  storeUrl,
} from '../session.ts'
import { absent, silent } from './stand-in.ts'

/** The flags that all commands of moves share. */
export interface MoveFlags extends GlobalFlags {
  readonly to?: string
  readonly names?: string
  readonly dryRun?: boolean
  readonly by?: string
  readonly confirm?: string
}

type AnyStore = Store<Record<string, DomainOptions>>

interface Ends {
  readonly from: string
  readonly to: string
}

/** To look only, to use what is there, or to make what is not. */
type How = 'look' | 'use' | 'make'

export class Pair {
  /** What the two sides are called. */
  readonly names: Ends
  readonly domains: readonly string[]
  /** The move of each domain, and all of them as one. */
  readonly moves: readonly Move[]
  readonly all: Moves
  /** What is odd about the two stores that were named. */
  readonly warnings: readonly string[]
  /** Which store each of the names stands for, without its password. */
  readonly stores: Readonly<Record<string, string>>
  /** What it was opened by. */
  readonly flags: MoveFlags
  readonly #store: AnyStore

  private constructor(
    flags: MoveFlags,
    store: AnyStore,
    names: Ends,
    {
      all,
      stores,
      warnings,
    }: { readonly all: Moves; readonly stores: Pair['stores']; readonly warnings: readonly string[] },
  ) {
    this.stores = stores
    this.flags = flags
    this.#store = store
    this.names = names
    this.all = all
    this.moves = [...all.moves.values()]
    this.domains = this.moves.map(({ domain }) => domain)
    this.warnings = warnings
  }

  /**
   * Opens both. A target that is not there is made with `make`, looked at as if it were there and empty with `look`, and
   * else refused. A side that is out of reach is one that does not answer: what can be done without it is for the move to say.
   */
  static async open(flags: MoveFlags, how: How = 'use'): Promise<Pair> {
    const [from, to] = [storeUrl(flags), targetUrl(flags)]
    if (from === to)
      throw new UnderpinError('invalid', 'The store to move from and the one to move to are the same')
    const names = namesOf(flags.names ?? defaultNames(from, to))
    const [openFrom, openTo] = [() => placeOf(from, how, false), () => placeOf(to, how, true)]
    let store = await open({ [names.from]: await openFrom(), [names.to]: await openTo() }, flags)
    try {
      const domains = await domainsOf(store, flags)
      const noted = await notedOf(store, names, domains)
      const called = flags.names === undefined ? (noted.names ?? names) : names
      if (noted.isTurned || called.from !== names.from || called.to !== names.to) {
        await store.close()
        const [first, second] = noted.isTurned ? [openTo, openFrom] : [openFrom, openTo]
        store = await open({ [called.from]: await first(), [called.to]: await second() }, flags)
      }
      const warnings = noted.isTurned
        ? [`The move goes from ${maskSecrets(to)} to ${maskSecrets(from)}: it was taken so`]
        : []
      const [source, target] = (noted.isTurned ? [to, from] : [from, to]).map(maskSecrets)
      const stores = { [called.from]: source ?? '', [called.to]: target ?? '' }
      return new Pair(flags, store, called, { all: await store.moves(domains, called), stores, warnings })
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /** Where each of the moves stands, in the order of the domains. */
  statuses(): Promise<readonly MoveStatus[]> {
    return Promise.all(this.moves.map((move) => move.status()))
  }

  /** For example `postgres is postgres://localhost/app`. */
  get legend(): string {
    return Object.entries(this.stores)
      .map(([name, url]) => `${name} is ${url}`)
      .join(', ')
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function open(places: Readonly<Record<string, string | Backend>>, flags: MoveFlags): Promise<AnyStore> {
  return openStore<Record<string, DomainOptions>>(places, { domains: {}, deadlineMs: deadlineMs(flags) })
}

/** What to open for a URL: itself, or what stands for a store that is not there or does not answer. */
async function placeOf(url: string, how: How, isTarget: boolean): Promise<string | Backend> {
  let isAbsent: boolean
  try {
    isAbsent = await isMissing(url)
  } catch (error) {
    if ((isTarget && how === 'make') || !isUnderpinError(error, 'unavailable')) throw error
    return silent(url, error)
  }
  if (!isAbsent || (isTarget && how === 'make')) return url
  if (isTarget && how === 'look') return absent(url)
  throw isTarget ? notBegun(url) : noSource(url)
}

function notBegun(url: string): UnderpinError {
  return new UnderpinError('gate', `No move to ${maskSecrets(url)} was begun: there is no store yet`, {
    hint: 'Look at the path or the schema of --to; if they are right, begin.',
  })
}

function noSource(url: string): UnderpinError {
  return new UnderpinError('unavailable', `There is no store at ${maskSecrets(url)}`, {
    hint: 'Look at the path or the schema of --store: it is where the domains were before the move.',
  })
}

function targetUrl({ to }: MoveFlags): string {
  if (to === undefined)
    throw new UnderpinError('invalid', 'No store to move to was named', {
      hint: 'Give --to URL (for example postgres://localhost/app), or set UNDERPIN_TO.',
    })
  if (!/^memory:|^sqlite::memory:/.test(to)) return checkedUrl(to)
  throw new UnderpinError('invalid', 'A store in memory ends with this process: nothing can move to it')
}

/** What kind of store a URL names: what its backend is called, unless somebody gave it a name. */
function kindOf(url: string): string {
  return isPostgres(url) ? 'postgres' : (/^\w+/.exec(url)?.[0] ?? url)
}

function defaultNames(from: string, to: string): string {
  const kinds = [kindOf(from), kindOf(to)]
  return kinds[0] === kinds[1] ? 'old,new' : kinds.join(',')
}

function namesOf(names: string): Ends {
  const [from, to, ...more] = names.split(',').map((name) => name.trim())
  if (from && to && from !== to && more.length === 0) return { from, to }
  throw new UnderpinError('invalid', `--names takes two names, not ${JSON.stringify(names)}`, {
    hint: 'Give what the application calls the two backends: --names file,postgres.',
  })
}

/** The domains given with --domain, or the only one that either store has. */
async function domainsOf(store: AnyStore, { domain }: MoveFlags): Promise<readonly string[]> {
  const asked = await Promise.allSettled([...store.backends.values()].map((backend) => backend.domains()))
  const answers = asked.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
  const there = [...new Set(answers.flat())].sort()
  const wanted = domain === undefined ? there : [...new Set(domain.split(',').map((name) => name.trim()))]
  if (domain === undefined && there.length !== 1) throw domainNeeded(there)
  const unknown = wanted.find((name) => !there.includes(name))
  // A side that does not answer may be the one that has it.
  if (unknown === undefined || answers.length < asked.length) return wanted
  throw new UnderpinError('invalid', `Neither store has a domain ${JSON.stringify(unknown)}`, {
    hint: there.length === 0 ? 'They have none yet.' : `They have ${there.join(', ')}.`,
  })
}

interface Noted {
  /** The move that is under way goes from what was given as the target to what was given as the source. */
  readonly isTurned: boolean
  /** What whoever began it calls the two backends. */
  readonly names: Ends | undefined
}

/** What is noted of the moves that are under way. */
async function notedOf(store: AnyStore, names: Ends, domains: readonly string[]): Promise<Noted> {
  const directions = new Set<boolean>()
  const called = new Map<string, Ends>()
  for (const domain of domains) {
    const { record, fences } = await (await store.move(domain, names)).status()
    const copy = fences[names.to]?.incarnation
    if (record === undefined) continue
    const [source, target] = record.incarnations
    directions.add(source === copy && target !== copy)
    called.set(`${record.from},${record.to}`, { from: record.from, to: record.to })
  }
  if (directions.size === 2)
    throw new UnderpinError('invalid', 'These domains move in different directions', {
      hint: 'Name with -d only those that move in one.',
    })
  const [first, ...others] = called.values()
  return { isTurned: directions.has(true), names: others.length === 0 ? first : undefined }
}
