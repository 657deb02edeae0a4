/** The part of kubo's RPC API that blobs use (https://docs.ipfs.tech/reference/kubo/rpc/), over fetch. */
import type { Clock } from '../../clock.ts'
import { isUnderpinError, maskSecrets, UnderpinError } from '../../error.ts'
import { chunksOf, throwIfAborted } from './content.ts'

export interface KuboOptions {
  /** `http://127.0.0.1:5001`. */
  readonly url: string
  /** Sent with every call: what a proxy in front of the node asks for. */
  readonly headers: Readonly<Record<string, string>>
  readonly fetch: typeof fetch
  readonly clock: Clock
  /** Milliseconds within which a call must begin to be answered. */
  readonly deadlineMs: number
}

/** An entry of a folder in the node's mutable file system. */
export interface KuboEntry {
  readonly name: string
  readonly size: number
  /** The CID of its root, as the node made it. */
  readonly root: string
}

type Arguments = readonly (readonly [string, string])[]

export class Kubo {
  readonly #options: KuboOptions

  constructor(options: KuboOptions) {
    this.#options = options
  }

  /**
   * Adds content to the node and gives it a name in the mutable file system, which keeps it from the node's own garbage
   * collection. Returns the CID of its root.
   */
  async add(content: AsyncIterable<Uint8Array>, path: string, signal?: AbortSignal): Promise<string> {
    const boundary = `underpin-${this.#options.clock.id()}`
    const query: Arguments = [
      ['cid-version', '1'],
      ['raw-leaves', 'true'],
      ['hash', 'sha2-256'],
      ['chunker', `size-${blockBytes}`],
      ['pin', 'false'],
      ['quieter', 'true'],
      ['to-files', path],
    ]
    const response = await this.#send('add', query, {
      signal,
      body: multipart(content, boundary),
      type: `multipart/form-data; boundary=${boundary}`,
    })
    const lines = (await this.#text(response, 'add')).trim().split('\n')
    const { Hash } = this.#parse<{ Hash?: string }>(lines.at(-1) ?? '', 'add')
    if (Hash === undefined) throw refused('add', lines.join(' '))
    return Hash
  }

  /** The content under a root. */
  async *cat(root: string, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const response = await this.#send('cat', [['arg', `/ipfs/${root}`]], { signal })
    if (response.body === null) return
    try {
      yield* response.body as unknown as AsyncIterable<Uint8Array>
    } catch (error) {
      throwIfAborted(signal)
      throw unreachable(this.#options.url, error)
    }
  }

  /** What is in a folder; undefined if there is no such folder. */
  async entries(path: string, signal?: AbortSignal): Promise<readonly KuboEntry[] | undefined> {
    const query: Arguments = [
      ['arg', path],
      ['long', 'true'],
    ]
    const text = await this.#unlessMissing('files/ls', query, signal)
    if (text === undefined) return undefined
    const { Entries } = this.#parse<{ Entries?: readonly LsEntry[] | null }>(text, 'files/ls')
    return (Entries ?? []).map(({ Name, Size, Hash }) => ({ name: Name, size: Size, root: Hash }))
  }

  async makeFolder(path: string, signal?: AbortSignal): Promise<void> {
    const query: Arguments = [
      ['arg', path],
      ['parents', 'true'],
    ]
    await this.#call('files/mkdir', query, signal)
  }

  /** One more name for a root that the node has. */
  async name(root: string, path: string, signal?: AbortSignal): Promise<void> {
    const query: Arguments = [
      ['arg', `/ipfs/${root}`],
      ['arg', path],
    ]
    await this.#call('files/cp', query, signal)
  }

  /** Removes a name; whether it was there. */
  async remove(path: string, signal?: AbortSignal): Promise<boolean> {
    const query: Arguments = [
      ['arg', path],
      ['recursive', 'true'],
    ]
    return (await this.#unlessMissing('files/rm', query, signal)) !== undefined
  }

  async #unlessMissing(command: string, query: Arguments, signal: AbortSignal | undefined) {
    try {
      return await this.#call(command, query, signal)
    } catch (error) {
      if (isUnderpinError(error) && error.details.node === missing) return undefined
      throw error
    }
  }

  async #call(command: string, query: Arguments, signal: AbortSignal | undefined): Promise<string> {
    return this.#text(await this.#send(command, query, { signal }), command)
  }

  async #text(response: Response, command: string): Promise<string> {
    try {
      return await response.text()
    } catch (error) {
      throw refused(command, (error as Error).message)
    }
  }

  async #send(
    command: string,
    query: Arguments,
    { signal, body, type }: { signal?: AbortSignal | undefined; body?: ReadableStream; type?: string },
  ): Promise<Response> {
    throwIfAborted(signal)
    const { url, headers, clock, deadlineMs } = this.#options
    const late = new AbortController()
    // A body may take as long as its content takes to come; the answer to anything else must begin in time.
    const cancel = body === undefined ? clock.timer(deadlineMs, () => late.abort()) : () => {}
    const parameters = new URLSearchParams()
    for (const [name, value] of query) parameters.append(name, value)
    const address = `${url.replace(/\/+$/, '')}/api/v0/${command}?${parameters}`
    try {
      const response = await this.#options.fetch(address, {
        method: 'POST',
        headers: type === undefined ? headers : { ...headers, 'content-type': type },
        signal: signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
        ...(body === undefined ? {} : { body, duplex: 'half' as const }),
      })
      if (response.ok) return response
      throw refused(command, await response.text(), response.status)
    } catch (error) {
      throwIfAborted(signal)
      if (isUnderpinError(error)) throw error
      throw unreachable(url, error)
    } finally {
      cancel()
    }
  }

  #parse<T>(text: string, command: string): T {
    try {
      return JSON.parse(text) as T
    } catch {
      throw refused(command, text)
    }
  }
}

/** One block of IPFS: content up to this size is one raw block, whose CID is that of the content. */
export const blockBytes = 1_048_576
const missing = 'file does not exist'

interface LsEntry {
  readonly Name: string
  readonly Size: number
  readonly Hash: string
}

function refused(command: string, answer: string, status?: number): UnderpinError {
  const node = messageIn(answer)
  const denied = status === 401 || status === 403
  return new UnderpinError('unavailable', `IPFS refused ${command}: ${maskSecrets(node).slice(0, 300)}`, {
    hint: denied
      ? 'Give the headers that the node or the proxy before it asks for.'
      : 'Is this the RPC address of a kubo node (port 5001), and not its gateway?',
    details: { command, status, node },
  })
}

function messageIn(answer: string): string {
  try {
    return String((JSON.parse(answer) as { Message?: unknown }).Message ?? answer)
  } catch {
    return answer.trim()
  }
}

function unreachable(url: string, cause: unknown): UnderpinError {
  return new UnderpinError('unavailable', `The IPFS node at ${url} could not be reached`, {
    hint: 'Is the daemon running, and is this its RPC address?',
    cause,
  })
}

/** One file as a form, streamed. */
function multipart(content: AsyncIterable<Uint8Array>, boundary: string): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  async function* parts() {
    yield encoder.encode(
      `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="blob"\r\ncontent-type: application/octet-stream\r\n\r\n`,
    )
    yield* chunksOf(content)
    yield encoder.encode(`\r\n--${boundary}--\r\n`)
  }
  const made = parts()
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await made.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    async cancel() {
      await made.return(undefined)
    },
  })
}
