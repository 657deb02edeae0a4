/** Archives as files in a folder: each is written beside its place, synced, and renamed; then the folder is synced. */
import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { UnderpinError } from '../../error.ts'
import { quote } from '../../model/key.ts'
import type { Archive } from './archive.ts'

/**
 * Keeps archives in a folder, made if it is not there. References are names of files, so the folder may be moved. A
 * process that dies while it writes leaves a file that ends with `.part`, which may be deleted.
 */
export function archiveFolder(path: string): Archive {
  return {
    async write(name, chunks) {
      await mkdir(path, { recursive: true })
      const part = join(path, `${name}.${randomBytes(6).toString('hex')}.part`)
      try {
        await writeSynced(part, chunks)
        await rename(part, join(path, name))
      } catch (error) {
        await rm(part, { force: true })
        throw error
      }
      await syncFolder(path)
      return name
    },
    read(reference) {
      if (basename(reference) !== reference || reference === '' || reference === '..' || reference === '.')
        throw new UnderpinError('invalid', `${quote(reference)} is no reference of an archive folder`)
      return createReadStream(join(path, reference))
    },
  }
}

async function writeSynced(path: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    for await (const chunk of chunks) await file.writeFile(chunk)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
