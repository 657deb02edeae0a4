/** `underpin verify` and `conformance`: is what is stored what was written, and does the store keep the laws. */
import { laws, runLaw, type Subject } from '../../conformance/conformance.ts'
import {
  type Backend,
  openBackend,
  standardWrappers,
  systemClock,
  UnderpinError,
  verifyDomain,
  wrap,
} from '../../index.ts'
import { commandWith } from '../again.ts'
import type { Output, Summary } from '../output.ts'
import { Progress } from '../progress.ts'
import { deadlineMs, type GlobalFlags, Session, storeUrl } from '../session.ts'
import { toTable } from '../text.ts'

/** Verifies one domain, or all of the store. Damage is not an error of the command: it is its result. */
export async function verify(flags: GlobalFlags, output: Output, signal: AbortSignal): Promise<Summary> {
  await using session = await Session.open(flags)
  const progress = new Progress('verify', flags, output)
  const onProgress = (position: number, head: number) => progress.update(position, head)
  const results = []
  try {
    for (const name of await session.domainNames())
      results.push(await verifyDomain(session.backend, name, { signal, onProgress }))
  } finally {
    progress.end()
  }
  const rows = results.map((found) => [
    found.domain,
    found.head,
    found.events,
    found.documents,
    found.tombstones,
    found.damaged.length,
    found.digest === found.found ? 'equal' : 'DIFFERENT',
    found.isSound ? 'sound' : 'NOT SOUND',
  ])
  return {
    isOk: results.every(({ isSound }) => isSound),
    data: { domains: results },
    lines: [
      ...toTable(['domain', 'head', 'events', 'documents', 'tombstones', 'damaged', 'digest', ''], rows),
      ...results.flatMap(({ domain, damaged }) => damaged.map(({ message }) => `${domain}: ${message}`)),
    ],
  }
}

/** Puts a store to the laws, in scratch domains whose names begin with `law`. No store can remove a domain, so they stay. */
export async function conformance(
  url: string | undefined,
  flags: GlobalFlags,
  output: Output,
  signal: AbortSignal,
): Promise<Summary> {
  const subject = toSubject(url ?? storeUrl(flags), deadlineMs(flags))
  const backend = await subject.open()
  try {
    const before = await backend.domains()
    if (before.length > 0 && !flags.yes) throw confirmationNeeded(before)
    const count = { passed: 0, failed: 0, skipped: 0 }
    for (const law of laws) {
      if (signal.aborted) throw new UnderpinError('aborted', 'The laws were stopped')
      const { name, result, reason, error, ms } = await runLaw(law, subject, backend)
      count[result]++
      const why = reason ?? (error instanceof Error ? error.message.split('\n')[0] : undefined)
      const line = `${result.padEnd(7)}  law ${String(law.law).padStart(2)}  ${name}${why === undefined ? '' : ` (${why})`}`
      await output.record({ law: law.law, name, result, reason: why, ms: Math.round(ms) }, line)
    }
    const isKept = backend.supports.durability !== 'none'
    const scratchDomains = isKept ? (await backend.domains()).filter((name) => !before.includes(name)) : []
    return {
      isOk: count.failed === 0,
      data: { backend: backend.name, ...count, scratchDomains },
      lines: [`${backend.name}: ${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped.`],
      warnings:
        scratchDomains.length === 0
          ? []
          : [`${scratchDomains.length} scratch domains stay in this store: ${scratchDomains.join(', ')}`],
    }
  } finally {
    await backend.close()
  }
}

function toSubject(url: string, deadline: number): Subject {
  const open = async (): Promise<Backend> => {
    const backend = wrap(await openBackend(url), standardWrappers(systemClock, deadline))
    await backend.open()
    return backend
  }
  // Only a place outside of the process can be opened a second time.
  return /^memory:|^sqlite::memory:/.test(url) ? { open } : { open, reopen: open }
}

function confirmationNeeded(domains: readonly string[]): UnderpinError {
  return new UnderpinError('invalid', `The store is in use: it has ${domains.join(', ')}`, {
    hint: `The laws leave scratch domains behind. Give the URL of a new store, or confirm: ${commandWith('--yes')}`,
  })
}
