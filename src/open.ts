/** Backends by URL. The one place that names them; each is loaded when it is asked for. */
import type { Backend } from './backend/backend.ts'
import { UnderpinError } from './error.ts'

const schemes: Readonly<Record<string, (url: string) => Promise<Backend>>> = {
  memory: async () => (await import('./backend/memory.ts')).memory(),
  postgres: async (url) => (await import('./backend/postgres/postgres.ts')).postgres(url),
  postgresql: async (url) => (await import('./backend/postgres/postgres.ts')).postgres(url),
  sqlite: async (url) => (await import('./backend/sqlite/sqlite.ts')).sqlite(url),
}

/**
 * The backend for a URL: `memory:`, `sqlite:./app.db`, `postgres://…`. `unsupported` for a scheme that there is none for,
 * `driver-missing` if its driver is not installed. Not opened yet.
 */
export async function openBackend(url: string): Promise<Backend> {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase()
  const open = scheme === undefined ? undefined : schemes[scheme]
  if (open !== undefined) return open(url)
  throw new UnderpinError('unsupported', `There is no backend for the URL ${JSON.stringify(url)}`, {
    hint: `Use one of ${Object.keys(schemes)
      .map((name) => `${name}:`)
      .join(', ')}, for example "sqlite:./app.db".`,
  })
}
