/** Runs git, with nothing of the user's configuration that would change what it prints. */
import { spawn } from 'node:child_process'

/** Something the caller of the demo has to mend: shown without a stack. */
export class UsageError extends Error {}

const settings = ['log.showSignature=false', 'log.showRoot=true', 'diff.relative=false'].flatMap(
  (setting) => ['-c', setting],
)

/** The output of a git command, cut at each NUL. Bytes, because names of files need not be UTF-8. */
export async function* gitTokens(repo: string, args: readonly string[]): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of gitOutput(repo, args)) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let from = 0
    for (let end = bytes.indexOf(0); end >= 0; end = bytes.indexOf(0, from)) {
      yield bytes.subarray(from, end)
      from = end + 1
    }
    rest = bytes.subarray(from)
  }
  if (rest.length > 0) yield rest
}

/** The output of a git command that prints little. */
export async function gitText(repo: string, args: readonly string[]): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of gitOutput(repo, args)) chunks.push(chunk)
  return Buffer.concat(chunks).toString().trim()
}

async function* gitOutput(repo: string, args: readonly string[]): AsyncGenerator<Buffer> {
  const { GIT_DIR: _dir, GIT_WORK_TREE: _tree, GIT_INDEX_FILE: _index, ...env } = process.env
  const git = spawn('git', ['-C', repo, ...settings, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let complaint = ''
  git.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text
  })
  const ended = new Promise<number | null | NodeJS.ErrnoException>((resolve) => {
    git.on('close', resolve)
    git.on('error', resolve)
  })
  yield* git.stdout
  const result = await ended
  if (result instanceof Error)
    throw result.code === 'ENOENT' ? new UsageError('git is not installed, or not in PATH.') : result
  if (result !== 0) throw new UsageError(complaint.trim() || `git ${args[0]} failed`)
}

/** The commit that HEAD names now: everything is read from there, so that work in the repository disturbs nothing. */
export async function resolveHead(repo: string): Promise<string> {
  try {
    await gitText(repo, ['rev-parse', '--git-dir'])
  } catch (error) {
    if (!(error instanceof UsageError) || error.message.startsWith('git is')) throw error
    throw new UsageError(`${repo} is not a git repository that can be read.\n${error.message}`)
  }
  try {
    return await gitText(repo, ['rev-parse', '--verify', '--quiet', 'HEAD^{commit}'])
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    throw new UsageError(`The repository ${repo} has no commits yet: there is no history to read.`)
  }
}
