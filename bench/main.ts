/**
 * `npm run bench [-- --quick] [--only ID] [--rounds N]`: measures Underpin and its peers side by side and writes
 * bench/RESULTS.md and reports/bench.jsonl. Nothing else should run on the machine meanwhile.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { allCases, type Case } from './cases.ts'
import { measureImport } from './import.ts'
import { describeMachine, type Figure, show, writeFigures } from './report.ts'
import type { Run, Work } from './run.ts'

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
  },
})
const rounds = Number(flags.rounds ?? (flags.quick ? 1 : 3))
const cases = allCases(flags.quick).filter(({ id }) => flags.only === undefined || id === flags.only)

const figures: Figure[] = []
for (const each of cases) figures.push(toFigure(each, measure(each), figures))
if (flags.only === undefined || flags.only === 'import')
  figures.push(...(await measureImport(flags.quick ? 400_000 : 1_000_000)))
for (const { title, value, unit, goal, met } of figures)
  console.log(
    `${title}: ${show(value)} ${unit}${goal === '' ? '' : `; goal: ${goal}: ${met ? 'met' : 'MISSED'}`}`,
  )
const settings = `${rounds} round${rounds === 1 ? '' : 's'}${flags.quick ? ', quick: a quarter of the records' : ''}, events of about 200 bytes of JSON, synchronous=FULL where it can be set`
if (flags.only === undefined) writeFigures(figures, settings)

/** The runs of each peer. Peers take turns, so that a slow minute of the machine falls on all of them. */
function measure({ title, work, peers }: Case): Map<string, Run[]> {
  const runs = new Map<string, Run[]>(peers.map((peer) => [peer, []]))
  for (let round = 0; round < rounds; round++) {
    for (const peer of peers) {
      const run = runOnce(work, peer)
      if (run === undefined) continue
      runs.get(peer)?.push(run)
      console.log(`${title} | ${peer} | ${show(run.rate)}/s${troubles(run)}`)
    }
  }
  return runs
}

function runOnce(work: Work, peer: string): Run | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-bench-'))
  try {
    const script = fileURLToPath(new URL('run.ts', import.meta.url))
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--import', 'tsx', script, JSON.stringify(work), peer, folder],
      { encoding: 'utf8', timeout: 120_000, killSignal: 'SIGKILL' },
    )
    const line = stdout.trim().split('\n').at(-1) ?? ''
    if (line.startsWith('{')) return JSON.parse(line)
    console.log(`${peer} gave no figure: ${stderr.trim().split('\n').at(-1) ?? 'stopped after 120 s'}`)
    return undefined
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function toFigure(each: Case, runs: Map<string, Run[]>, before: readonly Figure[]): Figure {
  const [ours = '', ...others] = each.peers
  const rates = (runs.get(ours) ?? []).map(({ rate }) => rate)
  const value = median(rates)
  const peers = Object.fromEntries(
    others.map((name) => {
      const found = runs.get(name) ?? []
      const rate = median(found.map(({ rate }) => rate))
      const [first] = found
      const note = first === undefined ? 'no figure' : `${first.durability}${troubles(first)}`
      // A peer that refused most calls has no rate to be compared with.
      const isFailing = first !== undefined && first.failed > first.done
      return [
        name,
        { value: isFailing ? Number.NaN : rate, ratio: isFailing ? Number.NaN : value / rate, note },
      ]
    }),
  )
  const goals = each.goals.map(({ against, atLeast, inCase }) => {
    const other = inCase === undefined ? peers[against]?.value : before.find(({ id }) => id === inCase)?.value
    const ratio = value / (other ?? Number.NaN)
    const name = inCase === undefined ? against : `Underpin’s ${inCase}`
    return { text: `at least ${atLeast} × ${name} (${ratio.toFixed(2)} ×)`, isMet: ratio >= atLeast }
  })
  return {
    id: each.id,
    title: each.title,
    value,
    unit: each.unit,
    peers,
    goal: goals.map(({ text }) => text).join(', '),
    met: goals.length === 0 ? null : goals.every(({ isMet }) => isMet),
    spread: [Math.min(...rates), Math.max(...rates)],
    machine: describeMachine(),
  }
}

function troubles({ failed, lost, done }: Run): string {
  const failures = failed === 0 ? '' : `; ${show(failed)} of ${show(failed + done)} calls failed`
  return lost === 0 ? failures : `${failures}; ${show(lost)} acknowledged events lost`
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
