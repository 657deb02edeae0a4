import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openStore } from '../src/index.ts'
import { openStoreSync } from '../src/sync.ts'
import { Process } from './process/pool.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-paths-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const domains = { app: {} }
const advice = expect.stringMatching(/\w/)

async function expectRefused(url: string, code: string, message: RegExp): Promise<void> {
  const refusal = { code, message: expect.stringMatching(message), hint: advice }
  await expect(openStore(url, { domains })).rejects.toMatchObject(refusal)
  expect(() => openStoreSync(url, { domains })).toThrow(expect.objectContaining(refusal))
}

describe('the path of a SQLite file', () => {
  it('may lie in folders that do not exist: they are made, and the file is for its owner alone', async () => {
    const path = join(folder, 'a/b c/ä/app.db')
    const store = await openStore(`sqlite:${path}`, { domains })
    await store.domain('app').log.append('s', { type: 't', data: 1 })
    await store.close()
    if (process.platform !== 'win32') expect(statSync(path).mode & 0o077).toBe(0)
  })

  it('may be given as a URL with slashes', async () => {
    const path = join(folder, 'app.db')
    await (await openStore(`sqlite://${path}`, { domains })).close()
    expect(existsSync(path)).toBe(true)
  })

  it('may not be that of a directory', async () => {
    await expectRefused(`sqlite:${folder}`, 'invalid', /is a directory/)
  })

  it('may not lead through a file', async () => {
    writeFileSync(join(folder, 'notes'), 'x')
    await expectRefused(`sqlite:${join(folder, 'notes/app.db')}`, 'unavailable', /cannot be created/)
  })

  it('may not be left out', async () => {
    await expectRefused('sqlite:', 'invalid', /names no file/)
    await expectRefused('sqlite:?durability=process', 'invalid', /names no file/)
  })

  it('may not come with a durability that there is none of, and no file is made then', async () => {
    const url = `sqlite:${join(folder, 'app.db')}?durability=eternal`
    await expect(openStore(url, { domains })).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringMatching(/eternal/),
    })
    expect(existsSync(join(folder, 'app.db'))).toBe(false)
  })

  it('needs a scheme that there is a backend for', async () => {
    await expectRefused('postgrss://localhost/app', 'unsupported', /no (synchronous )?backend/)
    await expectRefused('./app.db', 'unsupported', /no (synchronous )?backend/)
  })
})

/** Root may write everywhere, so these are opened in a process that gives its rights up. */
describe.skipIf(process.platform === 'win32')('a SQLite file that may not be written', () => {
  let stranger: Process
  beforeAll(async () => {
    ;[stranger] = (await Process.start(1)) as [Process]
  }, 60_000)
  afterAll(() => stranger.end())

  async function makeFile(): Promise<string> {
    const made = join(folder, 'made.db')
    await (await openStore(`sqlite:${made}`, { domains })).close()
    const path = join(folder, 'shown/app.db')
    mkdirSync(join(folder, 'shown'))
    copyFileSync(made, path)
    chmodSync(folder, 0o755)
    return path
  }
  const open = (path: string) => stranger.call('openUnprivileged', { path })

  it('is refused as unavailable, with what to look at', async () => {
    const path = await makeFile()
    chmodSync(path, 0o444)
    chmodSync(join(folder, 'shown'), 0o777)
    await expect(open(path)).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.stringMatching(/permissions/),
    })
  })

  it('is refused when it may not even be read', async () => {
    const path = await makeFile()
    chmodSync(path, 0o000)
    await expect(open(path)).rejects.toMatchObject({ code: 'unavailable', hint: advice })
  })

  it('is refused when its folder is not writable: SQLite keeps its log beside it', async () => {
    const path = await makeFile()
    chmodSync(path, 0o666)
    chmodSync(join(folder, 'shown'), 0o555)
    await expect(open(path)).rejects.toMatchObject({ code: 'unavailable', hint: advice })
  })

  it('is not made in a folder that is not writable', async () => {
    await makeFile()
    chmodSync(join(folder, 'shown'), 0o555)
    await expect(open(join(folder, 'shown/new.db'))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/cannot be created/),
      hint: advice,
    })
  })

  it('is opened when it may be written, so that these tests mean something', async () => {
    const path = await makeFile()
    chmodSync(path, 0o666)
    chmodSync(join(folder, 'shown'), 0o777)
    expect(await open(path)).toBeGreaterThan(0)
  })
})
