/** Requests and responses whose bodies are read once, within a limit, and given as often as wanted. */
import { createHash } from 'node:crypto'
import { parseJsonText, UnderpinError } from '../index.ts'

/** A response as it is kept: its body is text where that is exact, else base64. */
export interface StoredResponse {
  readonly status: number
  readonly headers: readonly (readonly [string, string])[]
  readonly text?: string
  readonly base64?: string
}

/** About one connection or one moment; and cookies, which are secrets of whoever asked first. */
const notKept = new Set([
  'connection',
  'date',
  'keep-alive',
  'set-cookie',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
const withoutBody = new Set([204, 205, 304])

/** All bytes of a body; undefined, with the rest left unread, if there are more than `max`. */
export async function readBytes(
  body: AsyncIterable<Uint8Array> | ReadableStream<Uint8Array> | null,
  max: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength
    if (size > max) return undefined
    chunks.push(chunk)
  }
  return new Uint8Array(Buffer.concat(chunks))
}

/** The same request with its whole body, anew at each call. */
export function requestWith(request: Request, bytes: Uint8Array<ArrayBuffer>): Request {
  const { method, url, headers, signal } = request
  const mayHaveBody = method !== 'GET' && method !== 'HEAD'
  return new Request(url, {
    method,
    headers,
    signal,
    ...(mayHaveBody && bytes.length > 0 ? { body: bytes } : {}),
  })
}

/** What tells one request from another: JSON is compared as a value, anything else byte by byte. */
export function describeRequest(request: Request, bytes: Uint8Array): unknown {
  const { method, url, headers } = request
  const type = headers.get('content-type')?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  const { search } = new URL(url)
  const common = { method, search, type }
  const isJson = type === 'application/json' || type.endsWith('+json')
  const value = isJson ? parseExactly(bytes) : undefined
  return value === undefined
    ? { ...common, sha256: createHash('sha256').update(bytes).digest('hex') }
    : { ...common, json: value }
}

/** The value of JSON text, if another text with the same value is the same request: not if a number loses digits. */
function parseExactly(bytes: Uint8Array): unknown {
  const text = decode(bytes)
  if (text === undefined) return undefined
  try {
    return JSON.parse(parseJsonText(text))
  } catch {
    // It is the handler's to refuse; here it is only compared, as bytes.
    return undefined
  }
}

export async function storeResponse(response: Response, max: number): Promise<StoredResponse> {
  const bytes = await readBytes(response.body, max)
  if (bytes === undefined)
    throw new UnderpinError('too-large', `The response has more than ${max} bytes, which cannot be kept`, {
      hint: 'Nothing was written. Keep the content elsewhere and answer with its place, or raise maxResponseBytes.',
    })
  const headers = [...response.headers].filter(([name]) => !notKept.has(name))
  const text = decode(bytes)
  const body = text === undefined ? { base64: Buffer.from(bytes).toString('base64') } : { text }
  return { status: response.status, headers, ...(bytes.length === 0 ? {} : body) }
}

export function restoreResponse({ status, headers, text, base64 }: StoredResponse): Response {
  const body = base64 === undefined ? text : new Uint8Array(Buffer.from(base64, 'base64'))
  const init = { status, headers: headers.map(([name, value]): [string, string] => [name, value]) }
  return new Response(withoutBody.has(status) ? null : (body ?? null), init)
}

/** Text that a store keeps exactly: no byte order mark is lost, and no NUL is in it. */
function decode(bytes: Uint8Array): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    return text.includes('\0') ? undefined : text
  } catch {
    return undefined
  }
}
