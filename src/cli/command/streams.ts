/** `underpin append`, `read` and `tail`: events, and the feed that they are in. */
import type { Domain, FeedItem, StoredEvent } from '../../index.ts'
import { commandWith } from '../again.ts'
import { readJson } from '../input.ts'
import type { Output, Summary } from '../output.ts'
import { type GlobalFlags, Session } from '../session.ts'
import { escapeText, showTime } from '../text.ts'

export interface AppendFlags extends GlobalFlags {
  readonly type: string
  readonly data: string
  readonly meta?: string
  readonly expect?: number | 'none' | 'some'
  readonly id?: string
  readonly create?: boolean
}

export async function append(stream: string, flags: AppendFlags): Promise<Summary> {
  const { type, expect, id } = flags
  const data = await readJson(flags.data)
  const meta = flags.meta === undefined ? undefined : await readJson(flags.meta)
  await using session = await Session.open(flags, flags.create)
  const domain = await session.domain()
  const event = { type, data, ...(meta === undefined ? {} : { meta: meta as Record<string, unknown> }) }
  const { position, seqs, isReplay } = await domain.log.append(stream, event, {
    ...(expect === undefined ? {} : { expect }),
    ...(id === undefined ? {} : { id }),
  })
  const what = isReplay ? 'was appended before' : 'appended'
  return {
    data: { stream, seq: seqs[0], position, isReplay },
    lines: [`${what}: ${escapeText(stream)} seq ${seqs[0]}, position ${position}`],
  }
}

export interface ReadFlags extends GlobalFlags {
  readonly from?: number
  readonly to?: number
  readonly limit?: number
  readonly backwards?: boolean
}

/** The events from one seq to another, both included; backwards, `from` is the higher one. */
export async function read(stream: string, flags: ReadFlags, output: Output): Promise<Summary> {
  const { limit, backwards = false } = flags
  const [lowest, highest] = backwards ? [flags.to, flags.from] : [flags.from, flags.to]
  await using session = await Session.open(flags)
  const domain = await session.domain()
  const events = domain.log.events(stream, {
    backwards,
    after: Math.max(0, (lowest ?? 1) - 1),
    ...(highest === undefined ? {} : { before: highest + 1 }),
    ...(limit === undefined ? {} : { limit }),
  })
  let count = 0
  for await (const event of events) {
    count++
    await output.record(event, showEvent(event))
  }
  return { data: { stream, count } }
}

export interface TailFlags extends GlobalFlags {
  readonly from?: number
  readonly stream?: string
  readonly type?: string
  readonly limit?: number
  readonly follow?: boolean
}

/** The feed from a position (from the head, if none is given), then what comes, until it is interrupted. */
export async function tail(flags: TailFlags, output: Output, signal: AbortSignal): Promise<Summary> {
  const { follow = true, limit = Number.POSITIVE_INFINITY } = flags
  await using session = await Session.open(flags)
  const domain = await session.domain()
  const after = flags.from === undefined ? (follow ? await domain.head() : 0) : Math.max(0, flags.from - 1)
  let count = 0
  let last = after
  for await (const item of follow ? domain.follow({ after, signal }) : upToHead(domain, after, signal)) {
    last = item.position
    if (!isWanted(item, flags)) continue
    count++
    await output.record(item, showItem(item))
    if (count === limit) break
  }
  const next = { why: 'Go on from here', command: commandWith('--from', String(last + 1)) }
  return { data: { count, position: last }, nextSteps: signal.aborted ? [next] : [] }
}

/** The feed up to where the head is now. */
async function* upToHead(domain: Domain, after: number, signal: AbortSignal): AsyncGenerator<FeedItem> {
  const head = await domain.head()
  for (let position = after; position < head && !signal.aborted; ) {
    const page = await domain.changes({ after: position })
    for (const item of page.items) {
      if (item.position > head || signal.aborted) return
      yield item
    }
    position = page.next
  }
}

function isWanted(item: FeedItem, { stream, type }: TailFlags): boolean {
  if (stream === undefined && type === undefined) return true
  if (item.kind !== 'event') return false
  const isStream = stream === undefined || item.stream.startsWith(stream)
  return isStream && (type === undefined || type.split(',').includes(item.type))
}

function showEvent({ seq, type, at, data, meta }: StoredEvent): string {
  const metaText = meta === undefined ? '' : `  ${escapeText(JSON.stringify(meta))}`
  return `${seq}  ${showTime(at)}  ${escapeText(type)}  ${escapeText(JSON.stringify(data))}${metaText}`
}

function showItem(item: FeedItem): string {
  const head = `${item.position}  ${showTime(item.at)}  `
  if (item.kind === 'event')
    return `${head}${escapeText(item.stream)} #${item.seq}  ${escapeText(item.type)}  ${escapeText(JSON.stringify(item.data))}`
  const what = item.kind === 'document' ? escapeText(JSON.stringify(item.value)) : '(deleted)'
  return `${head}${item.collection}/${escapeText(item.id)}  ${what}`
}
