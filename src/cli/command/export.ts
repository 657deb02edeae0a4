/** `underpin export`: the feed of a domain as NDJSON: a header, one line for each change, a trailer. */
import { type Backend, UnderpinError } from '../../index.ts'
import type { Output, Summary } from '../output.ts'
import { Progress } from '../progress.ts'
import { type GlobalFlags, Session } from '../session.ts'
import { showNumber } from '../text.ts'
import { type Header, type Trailer, toLine } from '../transfer/record.ts'
import { FileSink, type Sink, StreamSink } from '../transfer/sink.ts'

export interface ExportFlags extends GlobalFlags {
  readonly gzip?: boolean
  readonly resume?: boolean
}

const pageItems = 1_000
/** How often the end is looked for again when writers move it on. */
const attemptsAtTheEnd = 100

export async function exportDomain(
  file: string,
  flags: ExportFlags,
  output: Output,
  signal: AbortSignal,
): Promise<Summary> {
  if (file === '-') output.leaveStdout()
  await using session = await Session.open(flags)
  const domain = await session.domainName()
  const { incarnation } = await session.backend.fence(domain)
  const truncatedStreams = await session.truncatedStreams(domain)
  const truncated = truncatedStreams === 0 ? {} : { truncatedStreams }
  const header: Header = { underpin: 1, kind: 'export', domain, incarnation, ...truncated }
  const sink = openSink(file, header, flags)
  const progress = new Progress('export', flags, output)
  try {
    await sink.begin(`${JSON.stringify(header)}\n`)
    const trailer = await copy(session.backend, domain, sink, progress, signal)
    await sink.end(`${JSON.stringify(trailer)}\n`)
    const { records, head, digest } = trailer
    return {
      data: { domain, file, records, head, digest },
      lines: [`exported ${showNumber(records)} records of ${domain} to ${file}, head ${showNumber(head)}`],
      warnings: [
        ...(digest === null ? ['writers were too busy to read the digest of the head: it is left out'] : []),
        ...(truncatedStreams > 0
          ? [`${truncatedStreams} streams are truncated: no import takes this export`]
          : []),
      ],
    }
  } finally {
    progress.end()
  }
}

function openSink(file: string, header: Header, { gzip, resume, yes }: ExportFlags): Sink {
  if (file === '-') return new StreamSink(gzip ?? false)
  return new FileSink(file, header, {
    isGzip: gzip ?? file.endsWith('.gz'),
    isResumed: resume ?? false,
    mayReplace: yes ?? false,
  })
}

/** Copies the feed up to the head, and to where the head has moved meanwhile. */
async function copy(
  backend: Backend,
  domain: string,
  sink: Sink,
  progress: Progress,
  signal: AbortSignal,
): Promise<Trailer> {
  let { position, records } = sink
  for (let attempts = 0; ; ) {
    if (signal.aborted) throw new UnderpinError('aborted', 'The export was stopped')
    const page = await backend.changes(domain, position, pageItems)
    position = page.next
    records += page.items.length
    await sink.add(page.items.map(toLine).join(''), position, records)
    await progress.update(position, page.head)
    if (page.next < page.head) continue
    const { head, digest } = await backend.fence(domain)
    if (head === position) return { kind: 'end', domain, records, head, digest }
    if (++attempts === attemptsAtTheEnd) return { kind: 'end', domain, records, head: position, digest: null }
  }
}
