/** Bugs as they are made in real stores, each planted around the memory backend, and the law that must catch it. */
import type { Backend, SyncBackend } from '../../src/backend/backend.ts'
import { memory } from '../../src/backend/memory.ts'
import type { Subject } from '../../src/conformance/conformance.ts'
import { isUnderpinError } from '../../src/error.ts'
import type { Change } from '../../src/model/change.ts'
import { commitsCollection } from '../../src/model/collection.ts'
import type { Commit } from '../../src/model/commit.ts'
import { DigestSum, emptyDigest } from '../../src/model/digest.ts'
import type { Document, Tombstone } from '../../src/model/document.ts'
import { decodeCursor, encodeCursor } from '../../src/model/page.ts'
import { truncationsCollection } from '../../src/model/truncation.ts'
import type { JsonText } from '../../src/model/value.ts'
import { Forward } from '../../src/wrapper/forward.ts'

export interface PlantedBug {
  readonly name: string
  /** The law that must fail. */
  readonly law: number
  readonly subject: Subject
}

type Commits = Parameters<Backend['commit']>
type Scans = Parameters<Backend['scan']>

const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

/** The commits with each one changed. */
function each(commits: readonly Commit[], change: (commit: Commit) => Partial<Commit>): Commit[] {
  return commits.map((commit) => ({ ...commit, ...change(commit) }))
}

class PositionOutside extends Forward {
  override async commit(...[domain, epoch, commits]: Commits) {
    let { head } = await this.inner.fence(domain)
    await nextTurn()
    const outcomes = await this.inner.commit(domain, epoch, commits)
    return outcomes.map((outcome) =>
      outcome.kind === 'committed' ? { ...outcome, positions: outcome.positions.map(() => ++head) } : outcome,
    )
  }
}

class CheckOutside extends Forward {
  override async commit(...[domain, epoch, commits]: Commits) {
    if (commits.length === 1) {
      const probe = await this.inner.commit(
        domain,
        epoch,
        each(commits, () => ({ writes: [] })),
      )
      if (probe[0]?.kind === 'failed') return probe
      await nextTurn()
      return this.inner.commit(
        domain,
        epoch,
        each(commits, () => ({ checks: [] })),
      )
    }
    return this.inner.commit(domain, epoch, commits)
  }
}

class GreaterOrEqual extends Forward {
  override async commit(...[domain, epoch, commits]: Commits) {
    const { sync } = this.inner
    const seq = (stream: string) =>
      sync?.read(domain, stream, { after: 0, before: 1e9, backwards: true, limit: 1 }).items[0]?.seq ?? 0
    const loose = each(commits, ({ checks }) => ({
      checks: checks.filter(
        (check) =>
          check.kind !== 'stream' || typeof check.expect === 'string' || seq(check.stream) < check.expect,
      ),
    }))
    return this.inner.commit(domain, epoch, loose)
  }
}

class SplitPage extends Forward {
  override async changes(...call: Parameters<Backend['changes']>) {
    const page = await this.inner.changes(...call)
    const items = page.items.slice(0, call[2])
    return {
      ...page,
      items,
      next: items.length < page.items.length ? (items.at(-1)?.position ?? page.next) : page.next,
    }
  }
}

class FailsNeighbours extends Forward {
  override async commit(...[domain, epoch, commits]: Commits) {
    const outcomes = await this.inner.commit(domain, epoch, commits)
    const failed = outcomes.find(({ kind }) => kind === 'failed')
    return failed === undefined ? outcomes : outcomes.map(() => failed)
  }
}

class AcknowledgesEarly extends Forward {
  override async commit(...[domain, epoch, commits]: Commits) {
    const [commit] = commits
    if (commits.length !== 1 || commit === undefined || commit.checks.length > 0)
      return this.inner.commit(domain, epoch, commits)
    const { head } = await this.inner.fence(domain)
    // Nobody waits for it any more, so nobody may learn of its failure either: that is the bug.
    setTimeout(() => void this.inner.commit(domain, epoch, commits).catch(() => undefined), 1)
    return [{ kind: 'committed' as const, positions: commit.writes.map((_, i) => head + 1 + i), seqs: [] }]
  }
}

class LosesTombstones extends Forward {
  override async changes(...call: Parameters<Backend['changes']>) {
    const page = await this.inner.changes(...call)
    return { ...page, items: page.items.filter(({ kind }) => kind !== 'tombstone') }
  }
}

class IgnoresEpoch extends Forward {
  override async commit(...[domain, , commits]: Commits) {
    const { epoch } = await this.inner.fence(domain)
    return this.inner.commit(domain, epoch, commits)
  }
}

class SortsByLocale extends Forward {
  override async scan(...[domain, query]: Scans) {
    if (query.by !== 'id') return this.inner.scan(domain, query)
    const page = await this.inner.scan(domain, { ...query, limit: 10_000, after: null })
    const sign = query.backwards ? -1 : 1
    const sorted = [...page.items].sort((a, b) => sign * a.id.localeCompare(b.id))
    const from =
      query.after === null
        ? 0
        : sorted.findIndex(({ id }) => id === decodeCursor(query.after as string, 0).id) + 1
    const items = sorted.slice(from, from + query.limit)
    const next =
      from + query.limit < sorted.length ? encodeCursor({ key: [], id: items.at(-1)?.id ?? '' }) : null
    return { ...page, items, next }
  }
}

class SharesRecords extends Forward {
  readonly #given = new Map<string, Document | Tombstone | undefined>()

  override async get(...call: Parameters<Backend['get']>) {
    const found = await this.inner.get(...call)
    const documents = found.documents.map((record) => {
      const name = `${call[0]}/${record?.collection}/${record?.id}/${record?.position}`
      if (!this.#given.has(name)) this.#given.set(name, record && { ...record })
      return this.#given.get(name)
    })
    return { ...found, documents }
  }
}

class AppliesRetryAgain extends Forward {
  override commit(...[domain, epoch, commits]: Commits) {
    const forgetful = each(commits, ({ checks }) => ({
      checks: checks.filter((check) => check.kind === 'stream' || check.collection !== commitsCollection),
    }))
    return this.inner.commit(domain, epoch, forgetful)
  }
}

class LostExpectation extends Forward {
  override commit(...[domain, epoch, commits]: Commits) {
    return this.inner.commit(
      domain,
      epoch,
      each(commits, ({ checks }) => ({ checks: checks.filter(({ expect }) => expect !== undefined) })),
    )
  }
}

class CursorSkips extends Forward {
  override async scan(...[domain, query]: Scans) {
    const page = await this.inner.scan(domain, query)
    return query.after === null ? page : { ...page, items: page.items.slice(1) }
  }
}

class CursorRepeats extends Forward {
  override async scan(...[domain, query]: Scans) {
    const page = await this.inner.scan(domain, query)
    const before = page.items.at(-2)
    const next =
      page.next !== null && before !== undefined && query.by === 'id'
        ? encodeCursor({ key: [], id: before.id })
        : page.next
    return { ...page, next }
  }
}

class ServesSuperseded extends Forward {
  readonly #cache = new Map<string, Document | Tombstone | undefined>()

  override async get(...call: Parameters<Backend['get']>) {
    const found = await this.inner.get(...call)
    const documents = found.documents.map((record, i) => {
      const name = `${call[0]}/${call[1][i]?.collection}/${call[1][i]?.id}`
      if (!this.#cache.has(name)) this.#cache.set(name, record)
      return this.#cache.get(name)
    })
    return { ...found, documents }
  }
}

class DigestForgetsDeletes extends Forward {
  override async fence(domain: string) {
    const fence = await this.inner.fence(domain)
    const sum = new DigestSum(emptyDigest)
    for (const { kind, checksum } of (await this.inner.changes(domain, 0, 10_000)).items)
      if (kind !== 'tombstone') sum.add(checksum)
    return { ...fence, digest: sum.toString() }
  }
}

class KeepsHalf extends Forward {
  override async commit(...[domain, epoch, commits]: Commits) {
    const outcomes = await this.inner.commit(domain, epoch, commits)
    for (const [i, outcome] of outcomes.entries()) {
      const isUnique = outcome.kind === 'failed' && outcome.failed.some(({ kind }) => kind === 'unique')
      const commit = commits[i]
      if (isUnique && commit !== undefined)
        await this.inner.commit(domain, epoch, [{ ...commit, writes: commit.writes.slice(0, 1) }])
    }
    return outcomes
  }
}

class WatchesOnce extends Forward {
  override async *watch(domain: string, signal: AbortSignal) {
    yield (await this.inner.fence(domain)).head
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
  }
}

class IgnoresAbort extends Forward {
  override commit(...[domain, epoch, commits]: Commits) {
    return this.inner.commit(domain, epoch, commits)
  }
}

class NormalizesText extends Forward {
  override commit(...[domain, epoch, commits]: Commits) {
    const normal = each(commits, ({ writes }) => ({
      writes: writes.map((write) =>
        write.kind === 'delete' ? write : { ...write, data: write.data.normalize('NFC') as JsonText },
      ),
    }))
    return this.inner.commit(domain, epoch, normal)
  }
}

class SeqsFromZero extends Forward {
  override async read(...call: Parameters<Backend['read']>) {
    const page = await this.inner.read(...call)
    return { ...page, items: page.items.map((event) => ({ ...event, seq: event.seq - 1 })) }
  }
}

class StampsOwnTime extends Forward {
  override async changes(...call: Parameters<Backend['changes']>) {
    const page = await this.inner.changes(...call)
    const isCopy = page.role === 'prepared' || page.role === 'follower'
    return isCopy ? { ...page, items: page.items.map((change) => ({ ...change, at: change.at + 1 })) } : page
  }
}

class TransitionOverwrites extends Forward {
  override async transition(...[domain, , to]: Parameters<Backend['transition']>) {
    return this.inner.transition(domain, await this.inner.fence(domain), to)
  }
}

class OrdersByTime extends Forward {
  override async read(...call: Parameters<Backend['read']>) {
    const page = await this.inner.read(...call)
    return { ...page, items: [...page.items].sort((a, b) => a.at - b.at) }
  }
}

class NeverExpires extends Forward {
  override commit(...[domain, epoch, commits]: Commits) {
    return this.inner.commit(
      domain,
      epoch,
      each(commits, ({ at }) => ({ at: Math.min(at, 1_700_000_000_000) })),
    )
  }
}

class SyncSkipsChecks extends Forward {
  override get sync(): SyncBackend | undefined {
    const sync = this.inner.sync as SyncBackend
    const verbs = Object.fromEntries(
      (
        [
          'fence',
          'read',
          'get',
          'scan',
          'changes',
          'apply',
          'transition',
          'domains',
          'open',
          'close',
        ] as const
      ).map((verb) => [verb, (sync[verb] as (...call: unknown[]) => unknown).bind(sync)]),
    )
    return {
      ...verbs,
      commit: (domain: string, epoch: number, commits: readonly Commit[]) =>
        sync.commit(
          domain,
          epoch,
          each(commits, () => ({ checks: [] })),
        ),
    } as unknown as SyncBackend
  }
}

class HeadBehind extends Forward {
  override async changes(...call: Parameters<Backend['changes']>) {
    const page = await this.inner.changes(...call)
    const last = page.items.at(-1)
    return last === undefined ? page : { ...page, items: page.items.slice(0, -1), next: page.head }
  }
}

class HidesTruncations extends Forward {
  override async changes(...call: Parameters<Backend['changes']>) {
    return { ...(await this.inner.changes(...call)), truncations: [] }
  }
}

/** A page that was refused is taken for applied. */
class TakesAnyGap extends Forward {
  override async apply(...call: Parameters<Backend['apply']>) {
    await this.inner.apply(...call).catch((error: unknown) => {
      if (!isUnderpinError(error, 'invalid')) throw error
    })
  }
}

class RemovesOneMore extends Forward {
  override async commit(...[domain, epoch, commits]: Commits) {
    const raised = each(commits, ({ writes }) => ({
      writes: writes.map((write) => {
        if (write.kind !== 'put' || write.collection !== truncationsCollection) return write
        return { ...write, data: write.data.replace(/[0-9]+/, (n) => String(Number(n) + 1)) as JsonText }
      }),
    }))
    return this.inner.commit(domain, epoch, raised)
  }
}

class TruncatesNothing extends Forward {
  override async commit(...[domain, epoch, commits]: Commits) {
    const kept = each(commits, ({ writes }) => ({
      writes: writes.map((write) =>
        write.kind === 'put' && write.collection === truncationsCollection
          ? { ...write, data: '{"before":1}' as JsonText }
          : write,
      ),
    }))
    return this.inner.commit(domain, epoch, kept)
  }
}

/** Content changed behind the backend's back is served as it is, because nobody looks at the checksum. */
class TrustsContent extends Forward {
  readonly damaged = new Set<number>()

  override async read(...call: Parameters<Backend['read']>) {
    const page = await this.inner.read(...call)
    return {
      ...page,
      items: page.items.map((event) =>
        this.damaged.has(event.position) ? { ...event, at: event.at + 1 } : event,
      ),
    }
  }
}

const trusting: Subject = {
  open: async () => new TrustsContent(memory()),
  async damage(backend, _, change: Change) {
    ;(backend as TrustsContent).damaged.add(change.position)
  },
}

function plant(name: string, law: number, Bug: new (inner: Backend) => Backend): PlantedBug {
  return { name, law, subject: { open: async () => new Bug(memory()) } }
}

export const plantedBugs: readonly PlantedBug[] = [
  plant('position taken outside the transaction', 2, PositionOutside),
  plant('check made outside the transaction', 3, CheckOutside),
  plant('>= for = in a seq check', 3, GreaterOrEqual),
  plant('page that splits a commit', 10, SplitPage),
  plant('group that fails the neighbours of a failed commit', 5, FailsNeighbours),
  plant('acknowledged before it is committed', 9, AcknowledgesEarly),
  plant('lost tombstone', 10, LosesTombstones),
  plant('epoch not checked', 8, IgnoresEpoch),
  { name: 'checksum not verified', law: 13, subject: trusting },
  plant('ids ordered by locale', 12, SortsByLocale),
  plant('record shared with its readers', 9, SharesRecords),
  plant('retry of a commit id applied twice', 7, AppliesRetryAgain),
  plant('undefined taken as no expectation', 5, LostExpectation),
  plant('cursor that skips', 12, CursorSkips),
  plant('cursor that repeats', 12, CursorRepeats),
  plant('superseded revision served from a cache', 9, ServesSuperseded),
  plant('digest that forgets deletes', 10, DigestForgetsDeletes),
  plant('half a commit kept after a unique key failed', 1, KeepsHalf),
  plant('watch that fires once', 18, WatchesOnce),
  plant('aborted signal ignored', 18, IgnoresAbort),
  plant('text normalized', 11, NormalizesText),
  plant('seqs counted from 0', 3, SeqsFromZero),
  plant('follower stamps its own time', 14, StampsOwnTime),
  plant('transition that does not compare', 15, TransitionOverwrites),
  plant('events ordered by time', 16, OrdersByTime),
  plant('expired document still counts as present', 4, NeverExpires),
  plant('synchronous verbs that skip checks', 17, SyncSkipsChecks),
  plant('feed that leaves out the newest change', 10, HeadBehind),
  plant('feed that does not show the truncations behind a page', 14, HidesTruncations),
  plant('follower that does not refuse a page with a gap', 14, TakesAnyGap),
  plant('truncation that removes one event more', 3, RemovesOneMore),
  plant('truncation that removes nothing', 10, TruncatesNothing),
]
