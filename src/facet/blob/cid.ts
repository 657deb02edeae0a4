/**
 * Content identifiers: CID version 1, codec raw, hash sha2-256, base32 in lower case (`bafkrei…`): 4 bytes of prefix and
 * the 32 of the hash, as in the specifications of multiformats and IPLD. Every tool of that world reads them.
 */
import { UnderpinError } from '../../error.ts'
import { quote } from '../../model/key.ts'

/** Version 1, codec raw (0x55), sha2-256 (0x12) of 32 bytes. */
const prefix = Buffer.from([0x01, 0x55, 0x12, 0x20])
const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
const pattern = /^bafkrei[a-z2-7]{52}$/

/** The identifier of the content with this sha2-256. */
export function cidOf(sha256: Uint8Array): string {
  if (sha256.length !== 32) throw new TypeError('A sha2-256 has 32 bytes')
  return `b${base32(Buffer.concat([prefix, sha256]))}`
}

/** Whether a text is an identifier of this kind, in its one way of writing. */
export function isCid(text: unknown): text is string {
  // The last of the 58 letters has two bits to spare, which are 0.
  return typeof text === 'string' && pattern.test(text) && alphabet.indexOf(text.at(-1) as string) % 4 === 0
}

/** Refuses with `invalid` what is no such identifier; it becomes the name of a file. */
export function checkCid(text: unknown): asserts text is string {
  if (isCid(text)) return
  throw new UnderpinError('invalid', `${quote(text)} is not a CID that blobs are kept under`, {
    hint: 'Blobs are named by CID version 1, codec raw, sha2-256, in base32: bafkrei and 52 more characters.',
    details: { cid: text },
  })
}

/** RFC 4648, lower case, without padding. */
function base32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    for (bits += 8; bits >= 5; bits -= 5) text += alphabet[(value >>> (bits - 5)) & 31]
    value &= (1 << bits) - 1
  }
  return bits === 0 ? text : text + alphabet[(value << (5 - bits)) & 31]
}
