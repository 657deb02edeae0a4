/** A folder for the data of one test file. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'agent-desk-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
