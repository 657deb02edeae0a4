/** Starts the servers that several test files share, once for the whole run. */
import type { TestProject } from 'vitest/node'
import { startPostgres } from './postgres.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Its URL, or why there is none. */
    postgres: { url: string } | { reason: string }
  }
}

export default async function setup(project: TestProject) {
  const server = await startPostgres()
  if (typeof server === 'string') {
    console.log(`Tests on PostgreSQL are skipped: ${server}`)
    project.provide('postgres', { reason: server })
    return undefined
  }
  project.provide('postgres', { url: server.url })
  return () => server.stop()
}
