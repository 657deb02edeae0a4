/** One PostgreSQL server for all test files, where there is one to be had. */
import type { TestProject } from 'vitest/node'
import { startPostgres } from '../../../scripts/postgres-server.ts'

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startPostgres()
  const isMissing = typeof server === 'string'
  project.provide('postgresMissing', isMissing ? server : '')
  project.provide('postgresUrl', isMissing ? '' : server.url)
  return async () => {
    if (!isMissing) await server.stop()
  }
}

declare module 'vitest' {
  interface ProvidedContext {
    postgresMissing: string
    postgresUrl: string
  }
}
