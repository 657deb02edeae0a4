/** A store over two places, the second of which can be made to answer wrongly, late or not at all. */
import type { Backend } from '../../src/backend/backend.ts'
import { type Domains, openBackend, openStore, type Store, type StoreOptions } from '../../src/index.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import type { PlaceKind } from '../places.ts'

/** What a test may do to the answers of a backend, and to its calls before they are made. */
export interface Faults {
  answer?: ((verb: 'get' | 'scan' | 'read', result: never) => unknown) | undefined
  before?: ((verb: 'apply' | 'get' | 'scan' | 'read' | 'fence') => Promise<void> | void) | undefined
}

class Faulty extends Forward {
  readonly #faults: Faults

  constructor(inner: Backend, faults: Faults) {
    super(inner)
    this.#faults = faults
  }

  override async fence(...call: Parameters<Backend['fence']>) {
    await this.#faults.before?.('fence')
    return this.inner.fence(...call)
  }

  override async apply(...call: Parameters<Backend['apply']>) {
    await this.#faults.before?.('apply')
    return this.inner.apply(...call)
  }

  override get(...call: Parameters<Backend['get']>) {
    return this.#answer('get', () => this.inner.get(...call))
  }

  override scan(...call: Parameters<Backend['scan']>) {
    return this.#answer('scan', () => this.inner.scan(...call))
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.#answer('read', () => this.inner.read(...call))
  }

  async #answer<R>(verb: 'get' | 'scan' | 'read', call: () => Promise<R>): Promise<R> {
    await this.#faults.before?.(verb)
    const result = await call()
    return (this.#faults.answer?.(verb, result as never) ?? result) as R
  }
}

export interface TwoPlaces<D extends Domains> {
  readonly store: Store<D>
  readonly faults: Faults
  readonly urls: readonly [string | undefined, string | undefined]
}

/** `old` and `new`, as backends of one store that looks at moves often. */
export async function openTwo<const D extends Domains>(
  a: PlaceKind,
  b: PlaceKind,
  domains: D,
  options: Partial<Omit<StoreOptions<D>, 'domains'>> = {},
): Promise<TwoPlaces<D>> {
  const faults: Faults = {}
  const urls = [a.make().url, b.make().url] as const
  const target = new Faulty(await openBackend(urls[1] ?? 'memory:'), faults)
  const store = await openStore(
    { old: urls[0] ?? 'memory:', new: target },
    { domains, attendEveryMs: 10, ...options },
  )
  return { store, faults, urls }
}
