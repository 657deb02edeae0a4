/** `underpin verify` and `conformance`: is what is stored what was written, and does the store keep the laws. */
import { runConformance } from '../../conformance/conformance.ts'
import { openBackend, standardWrappers, systemClock, UnderpinError, verifyDomain, wrap } from '../../index.ts'
import type { Output, Summary } from '../output.ts'
import { Progress } from '../progress.ts'
import { type GlobalFlags, Session, storeUrl } from '../session.ts'
import { toTable } from '../text.ts'

/** Verifies one domain, or all of the store. Damage is not an error of the command: it is its result. */
export async function verify(flags: GlobalFlags, signal: AbortSignal): Promise<Summary> {
  const session = await Session.open(flags)
  const progress = new Progress('verify', flags.progress !== false)
  try {
    const names = flags.domain === undefined ? await session.backend.domains() : [flags.domain]
    const results = []
    for (const name of names) {
      if ((await session.backend.fence(name)).role === 'vacant')
        throw new UnderpinError('invalid', `There is no domain ${JSON.stringify(name)} here`)
      const onProgress = (position: number, head: number) => progress.update(position, head)
      results.push(await verifyDomain(session.backend, name, { signal, onProgress }))
    }
    progress.end()
    const isOk = results.every(({ isSound }) => isSound)
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
      isOk,
      data: { domains: results },
      lines: [
        ...toTable(['domain', 'head', 'events', 'documents', 'tombstones', 'damaged', 'digest', ''], rows),
        ...results.flatMap(({ domain, damaged }) => damaged.map(({ message }) => `${domain}: ${message}`)),
      ],
    }
  } finally {
    progress.end()
    await session.close()
  }
}

/** Puts a store to the laws, in scratch domains whose names begin with `law`; they are left behind. */
export async function conformance(
  url: string | undefined,
  flags: GlobalFlags,
  output: Output,
): Promise<Summary> {
  const place = url ?? storeUrl(flags)
  const open = async () => {
    const backend = wrap(await openBackend(place), standardWrappers(systemClock, 10_000))
    await backend.open()
    return backend
  }
  const isShared = (await openBackend(place)).supports.shared
  const report = await runConformance(isShared ? { open, reopen: open } : { open })
  for (const { law, name, result, reason, error, ms } of report.results) {
    const why = reason ?? (error instanceof Error ? error.message.split('\n')[0] : undefined)
    const line = `${result.padEnd(7)}  law ${String(law).padStart(2)}  ${name}${why === undefined ? '' : ` (${why})`}`
    if (!output.isQuiet) await output.record({ law, name, result, reason: why, ms: Math.round(ms) }, line)
  }
  const { backend, passed, failed, skipped } = report
  const scratch = isShared ? ' Its scratch domains, named law…, are left in that store.' : ''
  return {
    isOk: failed === 0,
    data: { backend, passed, failed, skipped },
    lines: [`${backend}: ${passed} passed, ${failed} failed, ${skipped} skipped.${scratch}`],
  }
}
