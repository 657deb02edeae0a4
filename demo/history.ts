/** Reads the history of a repository: every commit in git's order, with the files it changed. */
import { createHash } from 'node:crypto'
import { gitTokens } from './git.ts'
import type { Status } from './model.ts'

export interface GitCommit {
  readonly hash: string
  readonly author: string
  /** ISO 8601. */
  readonly time: string
  /** Empty for a merge: what it brings in was changed by the commits it merges. */
  readonly changes: readonly GitChange[]
}

export interface GitChange {
  readonly file: string
  readonly status: Status
  readonly from: string | null
  readonly added: number
  readonly deleted: number
}

const statuses: Readonly<Record<string, Status>> = {
  A: 'added',
  M: 'modified',
  D: 'deleted',
  R: 'renamed',
  C: 'copied',
  T: 'retyped',
}

/**
 * All commits that `head` reaches, parents before children. `--raw` says what became of each file, `--numstat` how many
 * lines; with -z, names come as they are, whatever is in them.
 */
export async function* readHistory(repo: string, head: string): AsyncGenerator<GitCommit> {
  const format = '--format=%x01%H%x01%at%x01%aE%x01%aN'
  const args = [
    'log',
    '--reverse',
    '--topo-order',
    '-M',
    '-z',
    '--raw',
    '--numstat',
    '--encoding=UTF-8',
    format,
  ]
  const tokens = gitTokens(repo, [...args, '--no-ext-diff', '--no-color', head, '--'])
  let commit: CommitReader | undefined
  for await (const bytes of tokens) {
    const text = bytes.toString().replace(/^\n/, '')
    if (text.startsWith('\x01')) {
      if (commit !== undefined) yield commit.toCommit()
      commit = new CommitReader(text)
    } else if (text.startsWith(':')) {
      const status = text.slice(text.lastIndexOf(' ') + 1, text.lastIndexOf(' ') + 2)
      const from = isTwoNames(status) ? idOf(await nextName(tokens)) : null
      commit?.addRaw(status, from, idOf(await nextName(tokens)))
    } else if (text !== '') {
      const [added = '', deleted = ''] = text.split('\t', 2)
      const name = bytes.subarray(bytes.indexOf(`${added}\t${deleted}\t`) + added.length + deleted.length + 2)
      if (name.length === 0) await nextName(tokens)
      commit?.addLines(added, deleted, idOf(name.length === 0 ? await nextName(tokens) : name))
    }
  }
  if (commit !== undefined) yield commit.toCommit()
}

function isTwoNames(status: string): boolean {
  return status === 'R' || status === 'C'
}

async function nextName(tokens: AsyncGenerator<Buffer>): Promise<Buffer> {
  const { value, done } = await tokens.next()
  if (done) throw new Error('The output of git log ended within a commit')
  return value
}

/** One commit being put together. */
class CommitReader {
  readonly #header: string
  readonly #raw: { status: Status; from: string | null; file: string }[] = []
  readonly #lines = new Map<string, { added: number; deleted: number }>()

  constructor(header: string) {
    this.#header = header
  }

  addRaw(status: string, from: string | null, file: string): void {
    this.#raw.push({ status: statuses[status] ?? 'other', from, file })
  }

  /** Of a binary file git counts no lines, and prints `-`. */
  addLines(added: string, deleted: string, file: string): void {
    this.#lines.set(file, { added: Number(added) || 0, deleted: Number(deleted) || 0 })
  }

  toCommit(): GitCommit {
    const [, hash = '', seconds = '0', email = '', name = ''] = this.#header.split('\x01')
    const changes = this.#raw.map((raw) => ({
      ...raw,
      ...(this.#lines.get(raw.file) ?? { added: 0, deleted: 0 }),
    }))
    return {
      hash,
      author: authorOf(name, email),
      time: new Date(Number(seconds) * 1_000).toISOString(),
      changes,
    }
  }
}

export function authorOf(name: string, email: string): string {
  return shorten(`${name} <${email}>`)
}

/** The id of a file: its name; with a hash where the name is not text, so that two such names stay two. */
function idOf(name: Buffer): string {
  const text = name.toString()
  return Buffer.from(text).equals(name) ? shorten(text) : shorten(`${text}~${hashOf(name)}`)
}

/** A text as an id, which has at most 512 bytes: of a longer one the beginning, and a hash of all of it. */
function shorten(text: string): string {
  if (Buffer.byteLength(text) <= 512) return text
  // 480 bytes may cut through a character: what is left of it becomes U+FFFD, two bytes longer at most.
  return `${Buffer.from(text).subarray(0, 480).toString()}~${hashOf(text)}`
}

function hashOf(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex').slice(0, 16)
}
