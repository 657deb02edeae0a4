/** Servers that are wrong: what checkers are tested with. */
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { systemClock } from 'underpin'
import { afterEach, expect } from 'vitest'
import { openRepositories } from '../lib/db.ts'
import { createApp } from '../src/app.ts'
import { newFolder } from './places.ts'

export type Handler = (request: Request) => Promise<Response>
/** What a server does instead with a request; undefined if it answers this one as it should. */
export type Fault = (request: Request, sound: Handler) => Promise<Response> | undefined

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** The address of a server with a fault. */
export async function serve(fault: Fault, url = 'memory:'): Promise<string> {
  const exports = { folder: newFolder(), keys: [{ id: '1', secret: 'x'.repeat(32) }] }
  const repositories = await openRepositories(url, { exports })
  ends.push(() => repositories.close())
  const app = createApp({
    repositories,
    clock: systemClock,
    onDefect: (error) => expect.fail(String(error)),
  })
  const sound = async (request: Request) => app.fetch(request)
  const server = createAdaptorServer({
    fetch: (request) => fault(request, sound) ?? sound(request),
  }) as Server
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  ends.push(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
