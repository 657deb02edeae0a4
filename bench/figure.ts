/** What the runs of a case amount to: medians, ratios, and whether its goals were met. */
import type { Case, Goal } from './case.ts'
import { type Measured, troubles } from './measure.ts'
import { describeMachine, type Figure, type Peers, show } from './report.ts'
import type { Run } from './run.ts'
import type { On } from './suite.ts'

export function toFigure(
  on: On,
  each: Case,
  measured: ReadonlyMap<string, Measured>,
  before: readonly Figure[],
): Figure {
  const [ours = '', ...others] = each.peers
  const runs = measured.get(ours)?.runs ?? []
  const middle = median(runs)
  const value = middle?.rate ?? Number.NaN
  const peers = Object.fromEntries(others.map((name) => [name, toPeer(measured.get(name), value)]))
  const checked = each.goals.map((goal) => check(goal, { value, runs, middle, peers, before }))
  const rates = runs.map(({ rate }) => rate)
  return {
    on,
    id: each.id,
    title: each.title,
    value,
    unit: each.unit,
    latency: middle?.latency,
    peers,
    goal: checked.map(({ text }) => text).join(', '),
    met: checked.length === 0 ? null : checked.every(({ isMet }) => isMet),
    spread: [Math.min(...rates), Math.max(...rates)],
    note: runs.length === 0 ? (measured.get(ours)?.reason ?? '') : troublesOf(runs),
    machine: describeMachine(),
  }
}

function toPeer(measured: Measured | undefined, ours: number): Peers[string] {
  const middle = median(measured?.runs ?? [])
  if (middle === undefined)
    return { value: Number.NaN, ratio: Number.NaN, note: `no figure: ${measured?.reason ?? 'not run'}` }
  const note = `${middle.durability}${troubles(middle)}`
  // A peer that refused most calls has no rate to be compared with.
  if (middle.failed > middle.done) return { value: Number.NaN, ratio: Number.NaN, note }
  return { value: middle.rate, ratio: ours / middle.rate, note, latency: middle.latency }
}

interface Found {
  readonly value: number
  readonly runs: readonly Run[]
  readonly middle: Run | undefined
  readonly peers: Peers
  readonly before: readonly Figure[]
}

function check(goal: Goal, { value, runs, middle, peers, before }: Found): { text: string; isMet: boolean } {
  switch (goal.kind) {
    case 'rate': {
      const { against, atLeast, inCase } = goal
      const other = inCase === undefined ? peers[against] : before.find(({ id }) => id === inCase)
      const ratio = value / (other?.value ?? Number.NaN)
      const name = inCase === undefined ? against : `Underpin’s ${inCase}`
      return { text: `at least ${atLeast} × ${name} (${ratio.toFixed(2)} ×)`, isMet: ratio >= atLeast }
    }
    case 'at least':
      return { text: `at least ${show(goal.rate)}/s`, isMet: value >= goal.rate }
    case 'latency': {
      const { at, atMost, against } = goal
      const found = middle?.latency?.[at] ?? Number.NaN
      if (against === undefined)
        return { text: `${at} at most ${atMost} ms (${show(found)} ms)`, isMet: found <= atMost }
      const ratio = found / (peers[against]?.latency?.[at] ?? Number.NaN)
      return { text: `${at} at most ${atMost} × ${against} (${ratio.toFixed(2)} ×)`, isMet: ratio <= atMost }
    }
    case 'no failure': {
      const found = troublesOf(runs)
      return { text: `no error${found === '' ? '' : ` (${found})`}`, isMet: runs.length > 0 && found === '' }
    }
  }
}

/** Those of all rounds: a failure in one is a failure. */
function troublesOf(runs: readonly Run[]): string {
  return runs
    .map((run) => troubles(run).replace(/^; /, ''))
    .filter((text) => text !== '')
    .join('; ')
}

/** The run with the middle rate. */
function median(runs: readonly Run[]): Run | undefined {
  return [...runs].sort((a, b) => a.rate - b.rate)[Math.floor(runs.length / 2)]
}
