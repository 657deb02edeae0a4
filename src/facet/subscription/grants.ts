/** What leases say of their holders, for those who only look. */
import type { CallOptions } from '../../backend/backend.ts'
import type { Document } from '../../model/document.ts'
import type { Cursor, Page } from '../../model/page.ts'
import { decodeValue } from '../../model/value.ts'
import { beats, type Grant, grants } from '../lease.ts'
import type { Port } from '../port.ts'

/** The ids of leases that are held, or were by somebody who died, in order. */
export async function grantsUnder(port: Port, prefix: string): Promise<readonly string[]> {
  const ids: string[] = []
  let after: Cursor | null = null
  do {
    const page: Page<Document, Cursor | null> = await port.scan({
      collection: grants,
      by: 'id',
      prefix,
      backwards: false,
      limit: Math.min(1_000, port.limits.pageItems),
      after,
    })
    ids.push(...page.items.map(({ id }) => id))
    after = page.next
  } while (after !== null)
  return ids
}

/** The holder of a lease, and how long ago it gave a sign of life: by the clocks of two processes, so only to be shown. */
export interface Holder {
  readonly holder: string
  readonly silentForMs: number
  readonly ttlMs: number
}

/** Who holds each lease, in the order of the ids. */
export async function holdersOf(
  port: Port,
  ids: readonly string[],
  options?: CallOptions,
): Promise<readonly (Holder | undefined)[]> {
  const keys = ids.flatMap((id) => [
    { collection: grants, id },
    { collection: beats, id },
  ])
  const { documents } = await port.get(keys, options)
  return ids.map((_, i) => {
    const [grant, beat] = documents.slice(2 * i, 2 * i + 2)
    if (grant?.kind !== 'document') return undefined
    const { holder, ttlMs } = decodeValue(grant.data) as Grant
    const lastAt = Math.max(grant.at, beat?.kind === 'document' ? beat.at : 0)
    return { holder, ttlMs, silentForMs: Math.max(0, port.clock.now() - lastAt) }
  })
}
