/** `underpin schema check`: whether every stored event can be read by the definitions of an application, and fits them. */
import { type EventCodec, isUnderpinError, UnderpinError, versionOf } from '../../index.ts'
import { loadDomains } from '../domains.ts'
import type { Output, Summary } from '../output.ts'
import { Progress } from '../progress.ts'
import { type GlobalFlags, Session } from '../session.ts'
import { escapeText, toTable } from '../text.ts'

export interface SchemaFlags extends GlobalFlags {
  readonly domains: string
  readonly failures?: number
}

/** Events of one type and version in a domain. */
interface Count {
  readonly domain: string
  readonly type: string
  readonly version: unknown
  events: number
  failed: number
}

const failuresShown = 20

/** What does not fit is not an error of the command: it is its result. */
export async function checkSchema(flags: SchemaFlags, output: Output, signal: AbortSignal): Promise<Summary> {
  const defined = await definitions(flags)
  await using session = await Session.open(flags)
  const there = await session.backend.domains()
  const missing = [...defined.keys()].filter((name) => !there.includes(name))
  if (missing.length === defined.size) throw nothingToCheck(missing, there)
  const check = new SchemaCheck(session, flags, output, signal)
  const warnings = missing.map((name) => `The store has no domain ${name}`)
  for (const [domain, codec] of defined) if (there.includes(domain)) await check.run(domain, codec)
  return { ...check.summary(), warnings }
}

/** The domains whose events are defined: the one that was named, or all of the module. */
async function definitions({ domains, domain }: SchemaFlags): Promise<ReadonlyMap<string, EventCodec>> {
  const found = new Map<string, EventCodec>()
  for (const [name, { events }] of Object.entries(await loadDomains(domains)))
    if (events?.codec?.types !== undefined && (domain ?? name) === name) found.set(name, events.codec)
  if (found.size > 0) return found
  const whose = domain === undefined ? 'no domain' : `no domain ${JSON.stringify(domain)}`
  throw new UnderpinError('invalid', `${domains} has ${whose} whose events are defined`, {
    hint: 'Give the domain its definitions: events: defineEvents({ … }). A JSON file cannot hold any.',
  })
}

function nothingToCheck(missing: readonly string[], there: readonly string[]): UnderpinError {
  const names = missing.map((name) => JSON.stringify(name)).join(', ')
  return new UnderpinError('invalid', `The store has no domain ${names}`, {
    hint: there.length === 0 ? 'It has none yet.' : `It has ${there.join(', ')}.`,
  })
}

class SchemaCheck {
  readonly #session: Session
  readonly #flags: SchemaFlags
  readonly #output: Output
  readonly #signal: AbortSignal
  readonly #counts = new Map<string, Count>()
  #failed = 0

  constructor(session: Session, flags: SchemaFlags, output: Output, signal: AbortSignal) {
    this.#session = session
    this.#flags = flags
    this.#output = output
    this.#signal = signal
  }

  async run(domain: string, codec: EventCodec): Promise<void> {
    const progress = new Progress('check', this.#flags, this.#output)
    const signal = this.#signal
    try {
      for (let after = 0; ; ) {
        const page = await this.#session.backend.changes(domain, after, 1_000, { signal })
        for (const change of page.items) {
          if (signal.aborted) throw new UnderpinError('aborted', 'The check was stopped')
          await progress.update(change.position, page.head)
          if (change.kind === 'event') await this.#examine(domain, codec, change)
        }
        if (page.next >= page.head) return
        after = page.next
      }
    } finally {
      progress.end()
    }
  }

  summary(): Summary {
    const counts = [...this.#counts.values()]
    const events = counts.reduce((sum, count) => sum + count.events, 0)
    const rows = counts.map(({ domain, type, version, events, failed }) => [
      domain,
      escapeText(type),
      escapeText(String(version)),
      events,
      failed,
    ])
    return {
      isOk: this.#failed === 0,
      data: { events, failed: this.#failed, counts },
      lines: [
        ...toTable(['domain', 'type', 'version', 'events', 'failed'], rows),
        `${events} events, ${this.#failed} do not fit.`,
      ],
    }
  }

  async #examine(
    domain: string,
    codec: EventCodec,
    event: Parameters<EventCodec['examine']>[0],
  ): Promise<void> {
    const count = this.#count(domain, event)
    count.events++
    try {
      await codec.examine(event)
    } catch (error) {
      count.failed++
      this.#failed++
      await this.#show(domain, event, error)
    }
  }

  #count(domain: string, event: Parameters<EventCodec['examine']>[0]): Count {
    const { type } = event
    const version = versionOf(event)
    const key = JSON.stringify([domain, type, version])
    const known = this.#counts.get(key)
    if (known !== undefined) return known
    const count = { domain, type, version, events: 0, failed: 0 }
    this.#counts.set(key, count)
    return count
  }

  async #show(
    domain: string,
    { stream, seq, position, type }: Parameters<EventCodec['examine']>[0],
    error: unknown,
  ): Promise<void> {
    if (this.#failed > (this.#flags.failures ?? failuresShown)) return
    const message = error instanceof Error ? error.message : String(error)
    const code = isUnderpinError(error) ? error.code : 'internal'
    const record = { kind: 'failure', domain, stream, seq, position, type, code, message }
    await this.#output.record(record, escapeText(`${domain}: ${message}`))
  }
}
