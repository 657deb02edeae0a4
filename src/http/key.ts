/** The Idempotency-Key header field (draft-ietf-httpapi-idempotency-key-header-07): a structured field that is a string. */

const longest = 255
/** RFC 9651, section 3.3.3: printable ASCII in quotes, in which a quote and a backslash have a backslash before them. */
const quoted = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/
/** Many clients send the key without quotes; nothing that a list or a parameter could be is taken for one. */
const bare = /^[A-Za-z0-9!#$%&'*+./:=?@^_`|~-]+$/

/** The key; undefined if the text is not one key of 1 to 255 characters. With and without quotes it is the same key. */
export function parseIdempotencyKey(field: string): string | undefined {
  const text = field.replace(/^[ \t]+|[ \t]+$/g, '')
  const [, inner] = quoted.exec(text) ?? []
  const key = inner?.replace(/\\(["\\])/g, '$1') ?? (bare.test(text) ? text : '')
  return key.length >= 1 && key.length <= longest ? key : undefined
}
