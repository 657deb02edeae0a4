/** `underpin get`, `put` and `list`: documents. */
import { UnderpinError } from '../../index.ts'
import { readJson } from '../input.ts'
import type { Output, Summary } from '../output.ts'
import { type GlobalFlags, Session } from '../session.ts'
import { escapeText, showTime } from '../text.ts'

export async function get(collection: string, id: string, flags: GlobalFlags): Promise<Summary> {
  const session = await Session.open(flags)
  try {
    const domain = await session.domain()
    const found = await domain.documents(collection).get(id)
    if (found === undefined) {
      return {
        isOk: false,
        data: null,
        lines: [],
        warnings: [`collection ${collection} has no document ${escapeText(JSON.stringify(id))}`],
      }
    }
    return {
      data: found,
      lines: [escapeText(JSON.stringify(found.value, null, 2)).replaceAll('\\x0a', '\n')],
    }
  } finally {
    await session.close()
  }
}

export interface PutFlags extends GlobalFlags {
  readonly data: string
  readonly expect?: number | 'absent' | 'present'
  readonly id?: string
  readonly expiresAt?: string
  readonly create?: boolean
}

export async function put(collection: string, id: string, flags: PutFlags): Promise<Summary> {
  const value = await readJson(flags.data)
  const expiresAt = flags.expiresAt === undefined ? undefined : Date.parse(flags.expiresAt)
  if (Number.isNaN(expiresAt))
    throw new UnderpinError('invalid', `${JSON.stringify(flags.expiresAt)} is no time`, {
      hint: 'Give an ISO 8601 time, for example 2030-01-31T12:00:00Z.',
    })
  const session = await Session.open(flags, flags.create)
  try {
    const collections = flags.create ? { [collection]: {} } : undefined
    const domain = await session.domain({
      create: flags.create ?? false,
      ...(collections === undefined ? {} : { collections }),
    })
    const { position, isReplay } = await domain.documents(collection).put(id, value as never, {
      ...(flags.expect === undefined ? {} : { expect: flags.expect }),
      ...(flags.id === undefined ? {} : { id: flags.id }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
    })
    return {
      data: { collection, id, revision: position, isReplay },
      lines: [
        `${isReplay ? 'was put before' : 'put'}: ${collection}/${escapeText(id)} at revision ${position}`,
      ],
    }
  } finally {
    await session.close()
  }
}

export interface ListFlags extends GlobalFlags {
  readonly prefix?: string
  readonly index?: string
  readonly equals?: readonly unknown[]
  readonly from?: unknown
  readonly below?: unknown
  readonly backwards?: boolean
  readonly limit?: number
}

export async function list(collection: string, flags: ListFlags, output: Output): Promise<Summary> {
  const session = await Session.open(flags)
  try {
    const domain = await session.domain()
    const { prefix, index, equals, from, below, backwards, limit = Number.POSITIVE_INFINITY } = flags
    const given = Object.entries({ prefix, index, equals, from, below, backwards })
    const options = Object.fromEntries(given.filter(([, value]) => value !== undefined))
    let count = 0
    for (
      let cursor: string | undefined, isFirst = true;
      count < limit && (isFirst || cursor !== undefined);
    ) {
      const page = await domain.documents(collection).list({
        ...options,
        limit: Math.min(limit - count, 500),
        ...(cursor === undefined ? {} : { cursor: cursor as never }),
      })
      for (const document of page.documents) {
        count++
        const { id, revision, at, value } = document
        await output.record(
          document,
          `${escapeText(id)}  ${revision}  ${showTime(at)}  ${escapeText(JSON.stringify(value))}`,
        )
      }
      isFirst = false
      cursor = page.cursor
    }
    return { data: { collection, count } }
  } finally {
    await session.close()
  }
}
