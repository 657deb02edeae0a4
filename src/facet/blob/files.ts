/** Files that outlive a power failure: content is synced before it gets its name, and the name before it counts. */
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  // Windows opens no folders, and writes their names through.
  if (process.platform === 'win32') return
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Makes a folder and those above it; the names of all that were missing are durable. */
export async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true })
  if (first === undefined) return
  for (let at = path; ; at = dirname(at)) {
    await syncFolder(dirname(at))
    if (at === first) return
  }
}

/** Moves a synced file to its durable name, over whatever has it. */
export async function moveFile(from: string, to: string): Promise<void> {
  await rename(from, to)
  await syncFolder(dirname(to))
}

/** Writes a whole small file: after a crash it is there as before or as now. `temporary` is in the same file system. */
export async function writeWhole(path: string, temporary: string, content: string): Promise<void> {
  await withFile(temporary, 'w', async (file) => {
    await file.writeFile(content)
    await file.sync()
  })
  await moveFile(temporary, path)
}

/** Opens a file for as long as `use` takes. */
export async function withFile<T>(
  path: string,
  flags: string,
  use: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const file = await open(path, flags)
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}

/** Removes a file; whether it was there. */
export async function removeFile(path: string): Promise<boolean> {
  return (await ifThere(rm(path).then(() => true))) ?? false
}

/** What a call gave, or undefined if the file or folder is not there. */
export async function ifThere<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** The chunks of a file, each in memory of its own. */
export async function* readChunks(file: FileHandle, from = 0): AsyncGenerator<Uint8Array> {
  for (let position = from; ; ) {
    const chunk = Buffer.allocUnsafe(chunkBytes)
    const { bytesRead } = await file.read(chunk, 0, chunkBytes, position)
    if (bytesRead === 0) return
    position += bytesRead
    yield chunk.subarray(0, bytesRead)
  }
}

const chunkBytes = 262_144

/** Writes all of a chunk: one call may write less. */
export async function writeAll(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, done, chunk.length - done, position + done)
    done += bytesWritten
  }
}
