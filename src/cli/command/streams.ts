/** `underpin append`, `read` and `tail`: events. */
import type { FeedItem, StoredEvent } from '../../index.ts'
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
  const data = await readJson(flags.data)
  const meta = flags.meta === undefined ? undefined : await readJson(flags.meta)
  const session = await Session.open(flags, flags.create)
  try {
    const domain = await session.domain({ create: flags.create ?? false })
    const event = {
      type: flags.type,
      data,
      ...(meta === undefined ? {} : { meta: meta as Record<string, unknown> }),
    }
    const { position, seqs, isReplay } = await domain.log.append(stream, event, {
      ...(flags.expect === undefined ? {} : { expect: flags.expect }),
      ...(flags.id === undefined ? {} : { id: flags.id }),
    })
    const what = isReplay ? 'was appended before' : 'appended'
    return {
      data: { stream, seq: seqs[0], position, isReplay },
      lines: [`${what}: ${escapeText(stream)} seq ${seqs[0]}, position ${position}`],
    }
  } finally {
    await session.close()
  }
}

export interface ReadFlags extends GlobalFlags {
  readonly after?: number
  readonly before?: number
  readonly limit?: number
  readonly backwards?: boolean
}

export async function read(stream: string, flags: ReadFlags, output: Output): Promise<Summary> {
  const session = await Session.open(flags)
  try {
    const domain = await session.domain()
    const { after, before, limit, backwards } = flags
    const options = { ...(after === undefined ? {} : { after }), ...(before === undefined ? {} : { before }) }
    let count = 0
    for await (const event of domain.log.events(stream, {
      ...options,
      ...(limit === undefined ? {} : { limit }),
      backwards: backwards ?? false,
    })) {
      count++
      await output.record(event, showEvent(event))
    }
    return { data: { stream, count } }
  } finally {
    await session.close()
  }
}

export interface TailFlags extends GlobalFlags {
  readonly after?: number
  readonly stream?: string
  readonly type?: string
  readonly limit?: number
  readonly follow?: boolean
}

/** The feed from a position (from the head, if none is given), then what comes, until it is interrupted. */
export async function tail(flags: TailFlags, output: Output, signal: AbortSignal): Promise<Summary> {
  const session = await Session.open(flags)
  try {
    const domain = await session.domain()
    const after = flags.after ?? (flags.follow === false ? 0 : await domain.head())
    const end = flags.follow === false ? await domain.head() : Number.POSITIVE_INFINITY
    const stop = new AbortController()
    signal.addEventListener('abort', () => stop.abort(), { once: true })
    let count = 0
    let last = after
    if (after < end && flags.limit !== 0) {
      for await (const item of domain.follow({ after, signal: stop.signal })) {
        if (item.position > end) break
        last = item.position
        if (isWanted(item, flags)) {
          count++
          await output.record(item, showItem(item))
        }
        if (count === flags.limit || item.position === end) break
      }
    }
    return { data: { count, position: last } }
  } finally {
    await session.close()
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
