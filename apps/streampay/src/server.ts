/** A streampay server: the app, the work on exports, and an end in which every request under way is answered. */
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { type Clock, systemClock } from 'underpin'
import { openRepositories, type Repositories } from '../lib/db.ts'
import type { RepositoryOptions } from '../lib/repositories/open.ts'
import { createApp } from './app.ts'

export interface ServerOptions extends RepositoryOptions {
  readonly url: string
  /** 0 for a free one. */
  readonly port: number
  readonly publicUrl?: string | undefined
  readonly clock?: Clock
  /** Told of failures that no caller is told of in full. */
  readonly onDefect: (error: unknown) => void
}

export interface RunningServer {
  /** `http://127.0.0.1:PORT` */
  readonly address: string
  readonly repositories: Repositories
  /** Takes no more requests, answers those under way, and closes the store. Idempotent. */
  stop(): Promise<void>
}

/** Milliseconds between two looks for connections without a request, while the server ends. */
const closeEveryMs = 20

export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { clock = systemClock, onDefect, publicUrl } = options
  const repositories = await openRepositories(options.url, options)
  const app = createApp({ repositories, clock, publicUrl, onDefect })
  const server = createAdaptorServer({ fetch: app.fetch }) as Server
  try {
    server.listen(options.port, '127.0.0.1')
    await once(server, 'listening')
  } catch (error) {
    await repositories.close()
    throw error
  }
  const end = new AbortController()
  const working = repositories.exports.work(end.signal).catch(onDefect)
  const stop = async () => {
    const closed = once(server, 'close')
    server.close()
    // Clients keep connections open for their next request: when the last answer is sent, there is none.
    const closing = setInterval(() => server.closeIdleConnections(), closeEveryMs)
    end.abort()
    await Promise.all([closed, working]).finally(() => clearInterval(closing))
    await repositories.close()
  }
  let stopping: Promise<void> | undefined
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    repositories,
    stop() {
      stopping ??= stop()
      return stopping
    },
  }
}
