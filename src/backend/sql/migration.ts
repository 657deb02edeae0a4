/** Numbered SQL files, each applied once, each with a checksum that must not change afterwards. */
import { readdirSync, readFileSync } from 'node:fs'
import { UnderpinError } from '../../error.ts'
import { checksumOf } from '../../model/digest.ts'

export interface Migration {
  readonly number: number
  readonly name: string
  readonly sql: string
  readonly checksum: string
}

/** What a database says was applied to it. */
export interface Applied {
  readonly number: number
  readonly name: string
  readonly checksum: string
}

/** The migrations of a folder, in order. */
export function loadMigrations(folder: URL): readonly Migration[] {
  const files = readdirSync(folder)
    .filter((file) => /^\d{3}-.*\.sql$/.test(file))
    .sort()
  return files.map((name, i) => {
    const number = Number.parseInt(name, 10)
    if (number !== i + 1) throw new TypeError(`Migration ${name} is not numbered ${i + 1}`)
    const sql = readFileSync(new URL(name, folder), 'utf8')
    return { number, name, sql, checksum: checksumOf(sql) }
  })
}

/** The migrations that are still to be applied; `unsupported` for a database of the future, `damaged` for a changed past. */
export function pendingMigrations(
  known: readonly Migration[],
  applied: readonly Applied[],
): readonly Migration[] {
  for (const { number, name, checksum } of applied) {
    const migration = known[number - 1]
    if (migration === undefined) {
      throw new UnderpinError(
        'unsupported',
        `The database was written by a newer version of Underpin (migration ${name}); this one knows ${known.length}`,
        {
          hint: 'Update the package; nothing was changed.',
          details: { migration: name, known: known.length },
        },
      )
    }
    if (migration.checksum !== checksum) {
      throw new UnderpinError('damaged', `Migration ${name} was applied to the database in another form`, {
        details: { migration: name, applied: checksum, known: migration.checksum },
      })
    }
  }
  return known.slice(applied.length)
}
