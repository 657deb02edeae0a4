/** What a path or URL says of a SQLite database. */
import { UnderpinError } from '../../error.ts'
import type { SqliteDurability } from './file.ts'

export interface SqliteTarget {
  readonly path: string
  readonly durability: SqliteDurability
}

/** Takes `./app.db`, `sqlite:./app.db`, `sqlite:///abs/app.db?durability=process`, `sqlite::memory:`. */
export function parseTarget(target: string, durability: SqliteDurability = 'durable'): SqliteTarget {
  const [, rest = target] = /^sqlite:(.*)$/s.exec(target) ?? []
  const [path = '', query = ''] = rest === ':memory:' ? [rest] : rest.replace(/^\/\/(?=\/)/, '').split('?', 2)
  if (path === '')
    throw new UnderpinError('invalid', `The URL ${JSON.stringify(target)} names no file`, {
      hint: 'For example: sqlite:./app.db',
    })
  const wanted = new URLSearchParams(query).get('durability') ?? durability
  if (wanted === 'durable' || wanted === 'process') return { path, durability: wanted }
  throw new UnderpinError(
    'invalid',
    `The durability ${JSON.stringify(wanted)} is none of "durable" and "process"`,
  )
}
