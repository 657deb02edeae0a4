/** What a large import does over its length, what memory it takes, and how long the store takes to open afterwards. */
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describeMachine, type Figure, show } from './report.ts'
import { event } from './work.ts'

const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const opener = fileURLToPath(new URL('open.ts', import.meta.url))

export async function measureImport(count: number): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-bench-'))
  try {
    const file = join(folder, 'events.ndjson')
    await writeLines(file, count)
    const store = `sqlite:${join(folder, 'import.db')}`
    const { stdout } = spawnSync(
      process.execPath,
      [cli, 'import', file, '-s', store, '-d', 'bench', '--create', '--json'],
      { encoding: 'utf8', maxBuffer: 2 ** 26 },
    )
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const { data } = lines.pop()
    return [flatness(lines, count, data.rate), memory(lines), opening(store, count)]
  } finally {
    rmSync(folder, { recursive: true })
  }
}

interface Report {
  readonly done: number
  readonly ms: number
  readonly rss: number
}

/** The rate of the last tenth against that of the second: the first is spent warming up. */
function flatness(reports: readonly Report[], count: number, rate: number): Figure {
  const rates = Array.from({ length: 9 }, (_, tenth) =>
    rateBetween(reports, ((tenth + 1) * count) / 10, ((tenth + 2) * count) / 10),
  )
  const [second = Number.NaN] = rates
  const last = rates.at(-1) ?? Number.NaN
  return {
    on: 'sqlite',
    id: 'import',
    title: `import of ${count.toLocaleString('en')} events`,
    value: rate,
    unit: 'events/s',
    peers: {
      'its second tenth': {
        value: second,
        ratio: last / second,
        note: `the last tenth: ${show(last)}/s (the ratio is last to second)`,
      },
    },
    goal: `last tenth at least 0.8 × the second (${(last / second).toFixed(2)} ×)`,
    met: last / second >= 0.8,
    spread: [Math.min(...rates), Math.max(...rates)],
    machine: describeMachine(),
  }
}

/** Interpolated between the reports, which come once a second. */
function rateBetween(reports: readonly Report[], from: number, to: number): number {
  return (to - from) / ((timeAt(reports, to) - timeAt(reports, from)) / 1_000)
}

function timeAt(reports: readonly Report[], lines: number): number {
  const at = reports.findIndex((report) => report.done >= lines)
  const [before, after] = at > 0 ? [reports[at - 1], reports[at]] : reports.slice(-2)
  if (before === undefined || after === undefined) return Number.NaN
  const part = (lines - before.done) / (after.done - before.done)
  return before.ms + part * (after.ms - before.ms)
}

function memory(reports: readonly Report[]): Figure {
  const megabytes = reports.map(({ rss }) => rss / 1e6)
  const peak = Math.max(...megabytes)
  return {
    on: 'sqlite',
    id: 'import-memory',
    title: 'memory during that import',
    value: peak,
    unit: 'MB at most',
    peers: {},
    goal: 'below 300 MB',
    met: peak < 300,
    spread: [Math.min(...megabytes), peak],
    machine: describeMachine(),
  }
}

/** In a process of its own each time: from the call of `openStore` to a domain that can be used. */
function opening(store: string, count: number): Figure {
  const times = Array.from({ length: 5 }, () =>
    Number(execFileSync(process.execPath, ['--import', 'tsx', opener, store], { encoding: 'utf8' })),
  ).sort((a, b) => a - b)
  const value = times[2] ?? Number.NaN
  return {
    on: 'sqlite',
    id: 'open',
    title: `opening a store of ${count.toLocaleString('en')} events`,
    value,
    unit: 'ms',
    peers: {},
    goal: 'at most 200 ms',
    met: value <= 200,
    spread: [times[0] ?? Number.NaN, times.at(-1) ?? Number.NaN],
    machine: describeMachine(),
  }
}

async function writeLines(file: string, count: number): Promise<void> {
  const out = createWriteStream(file)
  for (let n = 0; n < count; n++) {
    const line = `${JSON.stringify({ stream: `stream-${n % 1_000}`, ...event(n) })}\n`
    if (!out.write(line)) await once(out, 'drain')
  }
  out.end()
  await once(out, 'finish')
}
