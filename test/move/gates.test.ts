/** Each gate, both ways: what was found, and what would clear it. */
import { describe, expect, it } from 'vitest'
import { type Facts, type GateName, gatesInTheWay, gatesOf } from '../../src/move/gates.ts'
import { type MoveRecord, newRecord } from '../../src/move/record.ts'
import { changeSettings, defaultSettings } from '../../src/move/settings.ts'
import { watched } from '../../src/move/soak.ts'

const now = 1_000_000
const limits = { ...defaultSettings.gates, lag: 10, soakMs: 1_000 }

const record: MoveRecord = {
  ...newRecord({ from: 'a', to: 'b' }, ['1', '2'], 0),
  verified: { at: now - 1_000, head: 90, compared: 90, differences: 0 },
  ...{ soundSince: now - 2_000, watchedAt: now },
}
const sound: Facts = {
  ...{ phase: 'mirroring', target: 'b', position: 95, head: 100, digestsDiffer: false, record, now },
  digests: { at: now - 500, copy: '2', head: 94, isEqual: true },
  mover: { at: now - 1_000, position: 95, rate: null },
  latency: { sourceMs: 1, targetMs: 10 },
  processes: [{ name: 'api-1', canFollow: true }],
}
const withRecord = (change: Partial<MoveRecord>): Partial<Facts> => ({ record: { ...record, ...change } })

const failing: readonly [GateName, string, Partial<Facts>][] = [
  ['following', 'the move was not started', { phase: 'none' }],
  ['following', 'a cutover is under way', { phase: 'sealed' }],
  ['following', 'a side does not answer', { phase: 'unreachable' }],
  [
    'no-gap',
    'the copy refuses a change',
    withRecord({ gap: { position: 96, code: 'too-large', message: 'big', since: 0 } }),
  ],
  ['no-divergence', 'the digests differ at one head', { digestsDiffer: true }],
  [
    'no-divergence',
    'a mover saw them differ since both sides were compared',
    { digests: { at: now - 500, copy: '2', head: 94, isEqual: false } },
  ],
  [
    'no-divergence',
    'a comparison found differences',
    withRecord({ verified: { at: now, head: 90, compared: 90, differences: 1 } }),
  ],
  ['verified', 'both sides were never compared', withRecord({ verified: null })],
  [
    'verified',
    'the last comparison is too old',
    withRecord({ verified: { at: now - limits.verifiedForMs - 1, head: 90, compared: 90, differences: 0 } }),
  ],
  ['lag', 'the copy is too far behind', { position: 89 }],
  ['lag', 'a side does not answer', { position: null }],
  ['mover', 'no mover ever reported, and much is left', { mover: undefined, position: 80 }],
  [
    'mover',
    'the mover fell silent, and much is left',
    { mover: { at: now - limits.moverForMs - 1, position: 80, rate: null }, position: 80 },
  ],
  ['latency', 'the target is slow', { latency: { sourceMs: 1, targetMs: limits.latencyMs + 1 } }],
  ['processes', 'a process does not reach the target', { processes: [{ name: 'api-2', canFollow: false }] }],
  ['not-paused', 'the movers are paused', withRecord({ isPaused: true })],
  ['not-held', 'a cutover is held', withRecord({ isHeld: true })],
  ['soak', 'all held for too short a time', withRecord({ soundSince: now - 999 })],
  ['soak', 'nobody watched', withRecord({ soundSince: null, watchedAt: null })],
]

describe('the gates', () => {
  it('hold, all of them, when everything is sound', () => {
    const gates = gatesOf(sound, limits)
    expect(gates.filter(({ holds }) => !holds)).toEqual([])
    expect(gates.every(({ clears }) => clears === '')).toBe(true)
    expect(new Set(gates.map(({ name }) => name)).size).toBe(gates.length)
  })

  it.each(failing)('%s does not hold when %s, and says what clears it', (name, _why, change) => {
    const gate = gatesOf({ ...sound, ...change }, limits).find((found) => found.name === name)
    expect(gate).toMatchObject({ name, holds: false })
    expect(gate?.found).not.toBe('')
    expect(gate?.clears).not.toBe('')
  })

  it('has a test for each of them', () => {
    const tested = new Set(failing.map(([name]) => name))
    expect(gatesOf(sound, limits).filter(({ name }) => !tested.has(name))).toEqual([])
  })

  it.each([
    ['no process reports itself', { processes: [] }],
    ['no mover reports, but little is left, which a cutover copies by itself', { mover: undefined }],
    ['the latency was not measured', { latency: undefined }],
    ['the target is slow in relation, but fast enough', { latency: { sourceMs: 0.01, targetMs: 40 } }],
    ['the target is slow, but so is the source', { latency: { sourceMs: 100, targetMs: 400 } }],
  ] as const)('hold when %s', (_what, change) => {
    expect(gatesInTheWay(gatesOf({ ...sound, ...change }, limits))).toEqual([])
  })

  it('are overridden by force, but for those without which something could be lost', () => {
    const all = gatesOf(
      {
        ...sound,
        phase: 'none',
        position: null,
        record: undefined,
        mover: undefined,
        processes: [{ name: 'x', canFollow: false }],
      },
      limits,
    )
    expect(gatesInTheWay(all).length).toBeGreaterThan(4)
    expect(gatesInTheWay(all, true).map(({ name }) => name)).toEqual(['following'])
    const gap = { position: 96, code: 'too-large', message: 'big', since: 0 }
    const stopped = gatesOf({ ...sound, ...withRecord({ gap }) }, limits)
    expect(gatesInTheWay(stopped, true).map(({ name }) => name)).toEqual(['no-gap'])
  })
})

describe('a soak', () => {
  it('counts the time in which all held and somebody watched, and begins anew when one fails', () => {
    const soaked = (found: MoveRecord) =>
      gatesOf({ ...sound, record: found }, limits).find(({ name }) => name === 'soak')?.holds
    let found = watched({ ...record, soundSince: null, watchedAt: null }, true, 0, 100)
    for (let at = 100; at < 1_000; at += 100) found = watched(found, true, at, 100)
    expect(soaked(found)).toBe(false)
    found = watched(found, true, 1_000, 100)
    expect(soaked(found)).toBe(true)
    found = watched(found, false, 1_100, 100)
    expect(soaked(found)).toBe(false)
  })

  it('does not count a time in which nobody watched', () => {
    let found = watched({ ...record, soundSince: null, watchedAt: null }, true, 0, 100)
    found = watched(found, true, 200, 100)
    found = watched(found, true, 10_000, 100)
    expect((found.watchedAt ?? 0) - (found.soundSince ?? 0)).toBe(200 + 300)
  })
})

describe('settings', () => {
  it('are changed one by one, those of the gates too', () => {
    const changed = changeSettings(defaultSettings, { maxRate: 100, gates: { lag: 5 } })
    expect(changed).toEqual({ ...defaultSettings, maxRate: 100, gates: { ...defaultSettings.gates, lag: 5 } })
  })

  it.each([
    [{ maxDuty: 0 }],
    [{ pageItems: 1.5 }],
    [{ maxPauseMs: Number.NaN }],
    [{ shadow: 2 }],
    [{ mirror: 'maybe' }],
    [{ gates: { lag: -1 } }],
    [{ rate: 5 }],
    [{ gates: { lags: 5 } }],
    [{ toString: 5 }],
  ])('refuse %o', (change) => {
    expect(() => changeSettings(defaultSettings, change as object)).toThrowError(
      expect.objectContaining({ code: 'invalid' }),
    )
  })
})
