/** Signed links: whoever has one may download one export of one tenant until it expires. Nothing is stored of them. */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { UnderpinError } from '../../error.ts'

/** A secret that links are signed with. To change it: put the new one first, and remove the old one when its links have expired. */
export interface SigningKey {
  /** Stands in the links, so that they say which secret they were signed with. */
  readonly id: string
  /** At least 32 bytes, random. */
  readonly secret: string | Uint8Array
}

/** What a link is for. */
export interface Grant {
  readonly tenant: string
  readonly id: string
  /** Milliseconds since 1970. */
  readonly expiresAt: number
}

const secretBytes = 32

export class Signer {
  readonly #keys: readonly SigningKey[]

  /** The first key signs, all of them are accepted. */
  constructor(keys: readonly SigningKey[]) {
    if (keys.length === 0) throw new UnderpinError('invalid', 'Links need at least one key to be signed with')
    if (new Set(keys.map(({ id }) => id)).size !== keys.length)
      throw new UnderpinError('invalid', 'Two keys have the same id')
    for (const { id, secret } of keys)
      if (Buffer.byteLength(secret ?? '') < secretBytes)
        throw new UnderpinError(
          'invalid',
          `The secret of key ${JSON.stringify(id)} ${secret === undefined ? 'is missing' : `has fewer than ${secretBytes} bytes`}`,
          {
            hint: 'Make one with crypto.randomBytes(32), and keep it where other secrets are kept.',
          },
        )
    this.#keys = keys
  }

  /** The query of a link. */
  sign(grant: Grant): URLSearchParams {
    const [key] = this.#keys as [SigningKey]
    return new URLSearchParams({
      tenant: grant.tenant,
      export: grant.id,
      expires: String(grant.expiresAt),
      key: key.id,
      signature: macOf(key, grant).toString('base64url'),
    })
  }

  /** What a link is for, if one of the keys signed just this; expired or not. */
  verify(query: URLSearchParams): Grant | undefined {
    const part = (name: string) => (query.getAll(name).length === 1 ? (query.get(name) as string) : '')
    const expires = part('expires')
    const grant = { tenant: part('tenant'), id: part('export'), expiresAt: Number(expires) }
    const key = this.#keys.find(({ id }) => id === part('key'))
    if (key === undefined || !Number.isSafeInteger(grant.expiresAt) || String(grant.expiresAt) !== expires)
      return undefined
    const given = Buffer.from(part('signature'), 'base64url')
    const wanted = macOf(key, grant)
    return given.length === wanted.length && timingSafeEqual(given, wanted) ? grant : undefined
  }
}

/** JSON keeps the parts apart, whatever is in them. */
function macOf({ id: key, secret }: SigningKey, { tenant, id, expiresAt }: Grant): Buffer {
  return createHmac('sha256', secret)
    .update(JSON.stringify(['underpin-export-1', key, tenant, id, expiresAt]))
    .digest()
}
