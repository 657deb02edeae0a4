/** The server process: a desk, a runner and HTTP, begun in this order and ended in the other. */
import type { AddressInfo } from 'node:net'
import { serve as listen } from '@hono/node-server'
import { Broadcast } from './broadcast.ts'
import type { Config } from './config.ts'
import { Desk } from './desk.ts'
import { deskApp } from './http.ts'
import { keepRunning } from './keep-running.ts'
import { Runner } from './runner.ts'

export interface Served {
  readonly url: string
  readonly desk: Desk
  /** Ends streams, interrupts turns, takes a snapshot and closes the database. Idempotent. */
  close(): Promise<void>
}

/** Milliseconds until the feed is read again after it failed: readers wait so long, and miss nothing. */
const feedPauseMs = 500

/** Listens on 127.0.0.1 alone: whoever reaches the desk may run agents. */
export async function serve(config: Config, onError: (error: unknown) => void): Promise<Served> {
  const desk = await Desk.open(config.dataDir, { onError })
  const runner = await begin(desk, config, onError)
  const ending = new AbortController()
  const broadcast = new Broadcast(desk)
  const again = { pauseMs: feedPauseMs, signal: ending.signal, onFailure: onError }
  const telling = keepRunning(() => broadcast.run(ending.signal), again)
  const app = deskApp({ desk, runner, broadcast, signal: ending.signal, onError })
  const server = listen({ fetch: app.fetch, hostname: '127.0.0.1', port: config.port })
  try {
    await new Promise<void>((resolve, reject) => server.once('listening', resolve).once('error', reject))
  } catch (error) {
    await runner.stop()
    await desk.close()
    throw error
  }
  let closing: Promise<void> | undefined
  const end = async () => {
    const isDown = new Promise<void>((resolve) => server.close(() => resolve()))
    ending.abort()
    await runner.stop()
    if ('closeAllConnections' in server) server.closeAllConnections()
    await Promise.all([isDown, telling])
    await desk.close()
  }
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    desk,
    close: () => (closing ??= end()),
  }
}

async function begin(desk: Desk, { leaseMs }: Config, onError: (error: unknown) => void): Promise<Runner> {
  try {
    return await Runner.begin(desk, { leaseMs, onError })
  } catch (error) {
    await desk.close()
    throw error
  }
}
