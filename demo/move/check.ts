/** Whether everything that was acknowledged is there, once and in order: counted from the feed, after all of it. */
import { type Backend, type Domain, verifyDomain } from 'underpin'
import { type Check, check } from '../check.ts'
import type { Note, Progress } from './model.ts'
import { domainName } from './model.ts'

export async function checkAll(
  domain: Domain<Note, { progress: Progress }>,
  backend: Backend,
  acknowledged: ReadonlyMap<string, readonly number[]>,
): Promise<readonly Check[]> {
  const found = await readAll(domain)
  const count = { found: 0, lost: 0, doubled: 0, disordered: 0, behind: 0 }
  for (const [stream, numbers] of acknowledged) {
    const there = found.get(stream) ?? []
    const set = new Set(there)
    const lost = numbers.filter((n) => !set.has(n)).length
    count.found += numbers.length - lost
    count.lost += lost
    count.doubled += there.length - set.size
    count.disordered += there.filter((n, i) => i > 0 && n < (there[i - 1] ?? 0)).length
    const progress = await domain.documents('progress').get(stream)
    if (progress?.value.n !== there.at(-1)) count.behind++
  }
  const total = [...acknowledged.values()].reduce((sum, { length }) => sum + length, 0)
  const verified = await verifyDomain(backend, domainName)
  return [
    check(`of ${total} acknowledged commits, found`, count.found, total),
    check('acknowledged commits lost', count.lost, 0),
    check('commits doubled', count.doubled, 0),
    check('commits out of order', count.disordered, 0),
    check('documents that do not say the last of their stream', count.behind, 0),
    check('damaged records', verified.damaged.length, 0),
    check('digest, summed up from the feed', verified.found, verified.digest),
  ]
}

/** The numbers of each stream, as they stand in the feed. A seq that is not the next one would be a lost or doubled event. */
async function readAll(
  domain: Domain<Note, { progress: Progress }>,
): Promise<ReadonlyMap<string, readonly number[]>> {
  const found = new Map<string, number[]>()
  for (let after = 0, isBehind = true; isBehind; ) {
    const page = await domain.changes({ after, limit: 5_000 })
    for (const item of page.items) {
      if (item.kind !== 'event') continue
      const numbers = found.get(item.stream) ?? []
      numbers.push(item.data.n)
      if (item.seq !== numbers.length)
        throw new Error(`${item.stream} has seq ${item.seq} at ${numbers.length}`)
      found.set(item.stream, numbers)
    }
    after = page.next
    isBehind = page.next < page.head
  }
  return found
}
