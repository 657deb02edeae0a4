/** The backfill of a move, against a script that does nothing else. */
import { type Case, rate } from '../case.ts'

export function moveCases(scale: number): readonly Case[] {
  const count = 1_000_000 * scale
  const title = (way: string) =>
    `backfill of ${count.toLocaleString('en')} records, ${way}, checksums verified, page by page`
  const work = { kind: 'copy', count } as const
  return [
    {
      id: 'move-backfill',
      title: title('SQLite to PostgreSQL'),
      unit: 'records/s',
      work,
      peers: ['underpin, move to PostgreSQL', 'raw copy to PostgreSQL'],
      goals: [rate('raw copy to PostgreSQL', 0.75)],
    },
    {
      id: 'move-backfill-back',
      title: title('PostgreSQL to SQLite'),
      unit: 'records/s',
      work,
      peers: ['underpin, move to SQLite', 'raw copy to SQLite'],
      goals: [rate('raw copy to SQLite', 0.75)],
    },
  ]
}
