/** The store that processes of the tests share. */
import { collection, type Domain, type NewEvent, openStore } from '../../src/index.ts'

export const domains = {
  app: {
    collections: {
      things: collection<{ n: number; by: string }>({
        fields: { n: 'number', by: 'string' },
        indexes: { by_n: { fields: ['n'] }, by_by: { fields: ['by', 'n'] } },
      }),
    },
  },
} as const

/** By path of a SQLite file, or by URL. */
export const urlOf = (path: string) => (path.includes('://') ? path : `sqlite:${path}`)
export const openApp = (path: string) => openStore(urlOf(path), { domains, deadlineMs: 60_000 })
export type App = Domain<NewEvent, { things: { n: number; by: string } }>

let kept: Awaited<ReturnType<typeof openApp>> | undefined

/** The store that this process keeps open between calls. */
export async function keep(path: string): Promise<App> {
  kept ??= await openApp(path)
  return kept.domain('app')
}
