/**
 * A small server that speaks the part of kubo's RPC API that blobs use, as documented in
 * https://docs.ipfs.tech/reference/kubo/rpc/. It is no IPFS: content of more than one block gets a root CID that is only
 * made to look like one. With `ipfs` on the PATH, the tests run against a real node too.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { base32 } from 'multiformats/bases/base32'

export interface Node {
  readonly url: string
  close(): Promise<void>
}

export interface FakeNode extends Node {
  /** Content by root CID: to be damaged by tests. */
  readonly contents: Map<string, Buffer>
  /** Names of the mutable file system: a root CID, or undefined for a folder. */
  readonly names: Map<string, string | undefined>
  readonly commands: string[]
}

export async function startFakeNode(): Promise<FakeNode> {
  const contents = new Map<string, Buffer>()
  const names = new Map<string, string | undefined>()
  const commands: string[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('aborted', () => response.destroy())
    request.on('end', () => {
      const url = new URL(request.url ?? '/', 'http://node')
      const command = url.pathname.replace('/api/v0/', '')
      commands.push(command)
      try {
        if (request.method !== 'POST') return void response.writeHead(405).end()
        response.end(answer(command, url.searchParams, Buffer.concat(chunks)))
      } catch (error) {
        const message = { Message: (error as Error).message, Code: 0, Type: 'error' }
        response.writeHead(500, { 'content-type': 'application/json' }).end(JSON.stringify(message))
      }
    })
  })

  function answer(command: string, query: URLSearchParams, body: Buffer): string | Buffer {
    const [path = '', target = ''] = query.getAll('arg')
    switch (command) {
      case 'add': {
        const content = fileIn(body)
        const root = rootOf(content)
        contents.set(root, content)
        put(query.get('to-files') ?? '', root)
        return `${JSON.stringify({ Name: root, Hash: root, Size: String(content.length + 14) })}\n`
      }
      case 'cat': {
        const content = contents.get(path.replace('/ipfs/', ''))
        if (content === undefined) throw new Error(`block was not found locally (offline): ${path}`)
        return content
      }
      case 'files/mkdir':
        for (let at = path; at !== ''; at = at.slice(0, at.lastIndexOf('/'))) names.set(at, undefined)
        return ''
      case 'files/cp':
        put(target, path.replace('/ipfs/', ''))
        return ''
      case 'files/ls': {
        if (!names.has(path)) throw new Error('file does not exist')
        const inside = [...names].filter(([name]) => name.slice(0, name.lastIndexOf('/')) === path)
        const entries = inside.map(([name, root]) => ({
          Name: name.slice(path.length + 1),
          Type: root === undefined ? 1 : 0,
          Size: root === undefined ? 0 : (contents.get(root)?.length ?? 0),
          Hash: root ?? 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354',
        }))
        return JSON.stringify({ Entries: entries.length === 0 ? null : entries })
      }
      case 'files/rm':
        if (!names.has(path)) throw new Error('file does not exist')
        for (const name of [...names.keys()])
          if (name === path || name.startsWith(`${path}/`)) names.delete(name)
        return ''
      default:
        throw new Error(`no such command: ${command}`)
    }
  }

  function put(path: string, root: string): void {
    if (
      names.get(path.slice(0, path.lastIndexOf('/'))) !== undefined ||
      !names.has(path.slice(0, path.lastIndexOf('/')))
    )
      throw new Error('file does not exist')
    if (names.has(path)) throw new Error('directory already has entry by that name')
    names.set(path, root)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    contents,
    names,
    commands,
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** One raw block, or the likeness of a tree of them. */
function rootOf(content: Buffer): string {
  const codec = content.length <= 1_048_576 ? 0x55 : 0x70
  const hash = createHash('sha256').update(content).digest()
  return base32.encode(Buffer.concat([Buffer.from([1, codec, 0x12, 0x20]), hash]))
}

function fileIn(form: Buffer): Buffer {
  const boundary = form.subarray(0, form.indexOf('\r\n'))
  const start = form.indexOf('\r\n\r\n') + 4
  const end = form.lastIndexOf(`\r\n${boundary.toString()}--`)
  if (end < start) throw new Error('unexpected EOF')
  return form.subarray(start, end)
}

/** A kubo node of its own, offline, or why there is none. */
export async function startRealNode(): Promise<Node | string> {
  if (spawnSync('ipfs', ['version']).status !== 0) return 'there is no ipfs (kubo) on the PATH'
  const folder = mkdtempSync(join(tmpdir(), 'underpin-ipfs-'))
  const env = { ...process.env, IPFS_PATH: folder }
  const ipfs = (...args: string[]) => spawnSync('ipfs', args, { env })
  ipfs('init', '--profile', 'test')
  ipfs('config', 'Addresses.API', '/ip4/127.0.0.1/tcp/0')
  ipfs('config', 'Addresses.Gateway', '/ip4/127.0.0.1/tcp/0')
  const daemon = spawn('ipfs', ['daemon', '--offline'], { env, stdio: 'ignore' })
  const address = join(folder, 'api')
  for (let tries = 0; !existsSync(address) && tries < 200 && daemon.exitCode === null; tries++)
    await pause(100)
  const close = async () => {
    if (daemon.exitCode === null) {
      daemon.kill()
      await once(daemon, 'exit')
    }
    rmSync(folder, { recursive: true, force: true })
  }
  if (!existsSync(address)) {
    await close()
    return 'the ipfs daemon did not start'
  }
  const port = readFileSync(address, 'utf8').trim().split('/').at(-1)
  return { url: `http://127.0.0.1:${port}`, close }
}
