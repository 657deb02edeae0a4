/** Where a move stands, as text: one line for its head, then its gates. */
import { type Eta, type Gate, type MoveStatus, type Progress, systemClock } from '../../index.ts'
import { escapeText, showNumber, toTable } from '../text.ts'

const barWidth = 24
/** Positions that a copy must be behind before rate and time left mean anything. */
const worthTelling = 1_000

/** For example `orders  old → new  MIRRORING 61.2 %  2,460,900/4,021,333  41k/s  ETA 0:38 ± 0:04`. */
export function statusLine(status: MoveStatus): string {
  const { phase, position, head, record, mover } = status
  const isCopying = (phase === 'mirroring' || phase === 'reversed') && position !== null && head !== null
  const copy = isCopying
    ? [`${percentOf(position, head)} %`, `${showNumber(position)}/${showNumber(head)}`]
    : []
  const isBehind = isCopying && head - position > worthTelling && isFresh(mover)
  const rate = isBehind && mover?.rate ? [showRate(mover.rate)] : []
  const eta = isBehind && mover?.eta !== undefined ? [showEta(since(mover.eta, mover.at))] : []
  const flags = [...(record?.isPaused ? ['PAUSED'] : []), ...(record?.isHeld ? ['HELD'] : [])]
  const [percent, ...rest] = copy
  const state = percent === undefined ? phase.toUpperCase() : `${phase.toUpperCase()} ${percent}`
  return escapeText([headOf(status), state, ...rest, ...rate, ...eta, ...flags].join('  '))
}

/** What a mover said of its pace holds for so long: longer than it is silent while it copies. */
const freshForMs = 15_000

function isFresh(mover: MoveStatus['mover']): boolean {
  return mover !== undefined && systemClock.now() - mover.at < freshForMs
}

/** What a mover says of itself: a bar, and what is in its way. */
export function moverLines({ domain, from, to }: MoveEnds, now: Progress | undefined): string[] {
  if (now === undefined) return []
  const { position, head, recordsPerSecond, eta, state, throttle, gap, trouble } = now
  const part = head === 0 ? 1 : Math.min(1, position / head)
  const bar = '█'.repeat(Math.floor(part * barWidth)).padEnd(barWidth, '░')
  const counts = `${percentOf(position, head)} %  ${showNumber(position)}/${showNumber(head)}`
  const isBehind = position < head
  const pace = isBehind ? [showRate(recordsPerSecond), ...(eta === undefined ? [] : [showEta(eta)])] : []
  const held = throttle.filter(({ isLimiting }) => isLimiting).map(({ cause }) => causes[cause])
  return [
    [domain, `${from} → ${to}`, bar, counts, ...pace, ...(state === 'copying' ? [] : [states[state]])].join(
      '  ',
    ),
    ...(held.length === 0 ? [] : [`  held back by ${held.join(', ')}`]),
    ...(gap === undefined ? [] : [`  GAP at position ${gap.position}: ${gap.message}`]),
    ...(trouble === undefined ? [] : [`  tries again: ${trouble.message}`]),
  ].map(escapeText)
}

/** What a mover does that does not copy. */
const states: Readonly<Record<Exclude<Progress['state'], 'copying'>, string>> = {
  waiting: 'waiting for changes',
  paused: 'paused',
  beside: 'watching another mover',
  gap: 'before a gap',
  retrying: 'trying again',
  turning: 'a cutover is under way',
}

/** What a mover gives way to. */
const causes: Readonly<Record<Progress['throttle'][number]['cause'], string>> = {
  application: 'the commits of the application, which take longer than without it',
  source: 'the source, which is slower than at its best',
  target: 'the target, which is slower than at its best',
  unseen: 'writers of other processes, whom it leaves half of the time',
  rate: 'maxRate',
  duty: 'maxDuty',
}

interface MoveEnds {
  readonly domain: string
  readonly from: string
  readonly to: string
}

/** Each gate with what was found, and what would clear those that are in the way. */
export function gateLines(gates: readonly Gate[]): string[] {
  const rows = gates.map(({ name, holds, found, clears }) => [
    holds ? 'ok' : 'BLOCKED',
    name,
    holds ? found : `${found}. ${clears}`,
  ])
  return toTable(['', '', ''], rows).slice(1)
}

/** `812/s`, `4.1k/s`, `41k/s`, `1.2M/s`. */
function showRate(perSecond: number): string {
  for (const [unit, letter] of [
    [1_000_000, 'M'],
    [1_000, 'k'],
  ] as const) {
    const value = perSecond / unit
    if (value >= 1) return `${value < 10 ? value.toFixed(1) : Math.round(value)}${letter}/s`
  }
  return `${Math.round(perSecond)}/s`
}

/** `0:38`, `12:05`, `3:00:00`. */
export function showClock(ms: number): string {
  const seconds = Math.round(ms / 1_000)
  const two = (value: number) => String(value).padStart(2, '0')
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60]
  if (hours > 0) return `${hours}:${two(minutes)}:${two(seconds % 60)}`
  return `${minutes}:${two(seconds % 60)}`
}

/** As it is now, of what was told at a time. */
function since({ ms, lowMs, highMs }: Eta, at: number): Eta {
  const age = Math.max(0, systemClock.now() - at)
  const left = (told: number) => Math.max(0, told - age)
  return { ms: left(ms), lowMs: left(lowMs), highMs: left(highMs) }
}

function showEta({ ms, lowMs, highMs }: Eta): string {
  return `ETA ${showClock(ms)} ± ${showClock(Math.max(ms - lowMs, highMs - ms))}`
}

/** The domain and the way that its changes go. */
function headOf({ domain, from, to, phase }: Pick<MoveStatus, 'domain' | 'from' | 'to' | 'phase'>): string {
  return phase === 'reversed' ? `${domain}  ${to} → ${from}` : `${domain}  ${from} → ${to}`
}

/** Never 100 before it is. */
function percentOf(position: number, head: number): string {
  if (position >= head) return '100'
  return Math.min(99.9, (position / head) * 100).toFixed(1)
}
