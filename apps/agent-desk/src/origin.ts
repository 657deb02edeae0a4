/** Who may speak to the desk: programs of this machine, and pages of its own. Not what some web page tells a browser to send. */
import type { MiddlewareHandler } from 'hono'
import { Refusal } from './refusal.ts'

const ownNames: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]'])

/**
 * Refuses what a browser sends for a page of another origin, which it names, and what is sent to another name than this
 * machine's: a page whose name was made to point here is of the same origin, as far as the browser knows.
 */
export function refuseForeign(): MiddlewareHandler {
  return async (context, next) => {
    const { hostname, origin } = new URL(context.req.url)
    const from = context.req.header('origin')
    if (!ownNames.has(hostname)) throw foreign(`The host ${hostname} is not this machine`)
    if (from !== undefined && from !== origin) throw foreign(`${from} is another origin than ${origin}`)
    await next()
  }
}

function foreign(message: string): Refusal {
  return new Refusal('foreign', message, 'Ask 127.0.0.1 or localhost, from no page of another origin.')
}
