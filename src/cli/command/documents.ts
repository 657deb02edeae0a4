/** `underpin get`, `put` and `list`: documents. */
import { UnderpinError } from '../../index.ts'
import { commandWith } from '../again.ts'
import { readJson } from '../input.ts'
import type { Output, Summary } from '../output.ts'
import { type GlobalFlags, Session } from '../session.ts'
import { escapeText, showTime } from '../text.ts'

export async function get(collection: string, id: string, flags: GlobalFlags): Promise<Summary> {
  await using session = await Session.open(flags)
  await checkCollection(session, collection)
  const found = await (await session.domain()).documents(collection).get(id)
  if (found !== undefined)
    return { data: found, lines: JSON.stringify(found.value, null, 2).split('\n').map(escapeText) }
  return {
    isOk: false,
    data: null,
    warnings: [`collection ${collection} has no document ${JSON.stringify(id)}`],
  }
}

export interface PutFlags extends GlobalFlags {
  readonly data: string
  readonly expect?: number | 'absent' | 'present'
  readonly id?: string
  readonly expiresAt?: number
  readonly create?: boolean
}

export async function put(collection: string, id: string, flags: PutFlags): Promise<Summary> {
  const value = await readJson(flags.data)
  await using session = await Session.open(flags, flags.create)
  if (!flags.create) await checkCollection(session, collection)
  const domain = await session.domain(flags.create ? { [collection]: {} } : {})
  const { expect, expiresAt } = flags
  const { position, isReplay } = await domain.documents(collection).put(id, value, {
    ...(expect === undefined ? {} : { expect }),
    ...(flags.id === undefined ? {} : { id: flags.id }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  })
  const what = isReplay ? 'was put before' : 'put'
  return {
    data: { collection, id, revision: position, isReplay },
    lines: [`${what}: ${collection}/${escapeText(id)} at revision ${position}`],
  }
}

type FieldValue = string | number | boolean | null

export interface ListFlags extends GlobalFlags {
  readonly prefix?: string
  readonly index?: string
  readonly equals?: readonly FieldValue[]
  readonly from?: FieldValue
  readonly below?: FieldValue
  readonly backwards?: boolean
  readonly limit?: number
  readonly after?: string
}

export async function list(collection: string, flags: ListFlags, output: Output): Promise<Summary> {
  const { prefix, index, equals, from, below, backwards, limit = Number.POSITIVE_INFINITY } = flags
  await using session = await Session.open(flags)
  await checkCollection(session, collection)
  const documents = (await session.domain()).documents(collection)
  const given = Object.entries({ prefix, index, equals, from, below, backwards })
  const query = Object.fromEntries(given.filter(([, value]) => value !== undefined))
  let count = 0
  let cursor = flags.after
  do {
    const page = await documents.list({
      ...query,
      limit: Math.min(limit - count, 500),
      ...(cursor === undefined ? {} : { cursor }),
    })
    for (const document of page.documents) {
      count++
      const { id, revision, at, value } = document
      const text = escapeText(JSON.stringify(value))
      await output.record(document, `${escapeText(id)}  ${revision}  ${showTime(at)}  ${text}`)
    }
    cursor = page.cursor
  } while (cursor !== undefined && count < limit)
  const nextSteps =
    cursor === undefined ? [] : [{ why: 'There is more', command: commandWith('--after', cursor) }]
  return { data: { collection, count, cursor }, nextSteps }
}

async function checkCollection(session: Session, collection: string): Promise<void> {
  const domain = await session.domainName()
  const names = await session.collections(domain)
  if (names.includes(collection)) return
  const hint = names.length === 0 ? 'It has none.' : `It has ${names.join(', ')}.`
  throw new UnderpinError('invalid', `Domain ${domain} has no collection ${JSON.stringify(collection)}`, {
    hint: `${hint} The commands put and import make one when they are given --create.`,
  })
}
