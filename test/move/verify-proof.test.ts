/**
 * Planted differences: each one planted in a copy behind its backend's back, each found, named as foreign, and repaired.
 * And none found where none is, while both sides are written to.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keyText } from '../../src/model/change.ts'
import { repairCopy } from '../../src/move/repair.ts'
import { compareSides } from '../../src/move/verify.ts'
import { randomOf } from '../crash/random.ts'
import { append } from '../proof.ts'
import { cleanRuns } from './clean-runs.ts'
import { type Copies, catchUp, copyKinds, makeCopies, sceneOf } from './copies.ts'
import { plants } from './planted.ts'

const seed = Number(process.env.UNDERPIN_SEED ?? 1)
/** On each kind of copy. */
const planted = Number(process.env.UNDERPIN_PLANTS ?? 100)
const clean = Number(process.env.UNDERPIN_CLEAN_RUNS ?? 34)

describe.each(copyKinds)('a copy on $name', (kind) => {
  let copies: Copies
  beforeAll(async () => {
    if (kind.missing === '') copies = await makeCopies(kind)
  })
  afterAll(() => copies?.close())

  it(`has ${planted} planted differences found, named and repaired`, async ({ skip }) => {
    // Reason: places.ts says why this machine has no such server.
    skip(kind.missing !== '', kind.missing)
    const { sides, saboteur } = copies
    const since = performance.now()
    const random = randomOf(seed)
    const usable = plants.filter(({ needsFence }) => !needsFence || saboteur.setFence !== undefined)
    const whole = (await sides.target.changes('app', 0, 10_000)).items
    const fence = await sides.target.fence('app')
    const missed: string[] = []
    for (let i = 0; i < planted; i++) {
      const { name, plant } = usable[i % usable.length] as (typeof usable)[number]
      const keys = await plant(saboteur, await sceneOf(sides, random))
      const found = await compareSides(sides)
      const named = new Set(found.differences.map(({ key }) => (key === undefined ? 'fence' : keyText(key))))
      const isNamed = keys.length === 0 ? named.has('fence') : keys.some((key) => named.has(keyText(key)))
      if (found.isEqual || !isNamed || !found.isForeign) {
        missed.push(`${i} ${name}: ${JSON.stringify(found)}`)
      }
      const repaired = await repairCopy(sides, { found })
      expect(repaired, `${i} ${name}`).toMatchObject({ how: 'records', after: { isEqual: true } })
      // What stood behind a lowered head comes again with the feed.
      await catchUp(sides)
      expect((await sides.target.changes('app', 0, 10_000)).items, name).toEqual(whole)
      expect(await sides.target.fence('app'), name).toEqual(fence)
    }
    const seconds = (performance.now() - since) / 1_000
    console.log(
      `${kind.name}: ${planted - missed.length} of ${planted} planted differences found, seed ${seed}`,
    )
    append({
      ...{ promise: 'planted differences found by verify', backend: kind.name, tried: planted },
      ...{ failed: missed.length, unknown: 0, seed, seconds },
    })
    expect(missed).toEqual([])
  }, 120_000)

  it(`raises no alarm in ${clean} comparisons while both sides are written to`, async ({ skip }) => {
    // Reason: places.ts says why this machine has no such server.
    skip(kind.missing !== '', kind.missing)
    const since = performance.now()
    const { alarms, commits, lagged, compared, summed, head } = await cleanRuns(kind, clean, seed)
    const seconds = (performance.now() - since) / 1_000
    console.log(
      `${kind.name}: ${alarms.length} false alarms in ${clean} comparisons of ${compared} records under ${commits} commits, up to position ${head}; ${lagged} of them behind, ${summed} with the digest of the contents; seed ${seed}`,
    )
    append({
      ...{ promise: 'comparisons under writes without a false alarm', backend: kind.name, tried: clean },
      ...{ failed: alarms.length, unknown: 0, seed, seconds },
    })
    expect(alarms).toEqual([])
  }, 120_000)
})
