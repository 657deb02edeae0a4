/** Idempotency tokens: what a request that may come again is known by. */
import { createHash } from 'node:crypto'
import { UnderpinError } from '../../error.ts'
import { checkId } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'

declare const brand: unique symbol

/** Made with {@link idempotencyToken}. */
export interface IdempotencyToken {
  /** Under which the result is kept. */
  readonly id: string
  readonly [brand]: 'IdempotencyToken'
}

/** Bytes in each part of a scope, and in a key. */
const partBytes = 4_096
const parts = 16
/** Leaves room for what goes in front of an id. */
const idBytes = 400

/**
 * The token of a key in a scope: `idempotencyToken(['tenant-7', 'orders', 'place'], key)`. A key of one scope never is
 * the key of another, whatever characters they contain. `invalid` or `too-large` if a part is empty, not well-formed
 * text, has a NUL, or more than 4,096 bytes; at most 16 parts.
 */
export function idempotencyToken(scope: string | readonly string[], key: string): IdempotencyToken {
  const path = typeof scope === 'string' ? [scope] : [...scope]
  if (path.length === 0 || path.length > parts)
    throw new UnderpinError(
      'invalid',
      `The scope of an idempotency token has 1 to ${parts} parts, not ${path.length}`,
    )
  for (const part of path)
    checkId(part, 'The scope of an idempotency token', { ...limits, idBytes: partBytes })
  checkId(key, 'The key of an idempotency token', { ...limits, idBytes: partBytes })
  return { id: idOf([...path, key]) } as IdempotencyToken
}

/** The parts, with separators that no part contains. A hash, which stands for what is too long, has no separator. */
function idOf(path: readonly string[]): string {
  const text = path.map((part) => part.replaceAll('%', '%25').replaceAll('/', '%2F')).join('/')
  if (Buffer.byteLength(text) <= idBytes) return text
  return `sha256:${createHash('sha256').update(text).digest('hex')}`
}
