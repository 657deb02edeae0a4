/** The published table of what each check finds: made from the planted differences, the same on every kind of copy. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { repairCopy } from '../../src/move/repair.ts'
import { lookAgain } from '../../src/move/verify/look.ts'
import { checkOf } from '../../src/move/verify/reader.ts'
import { compareDigests, compareSides } from '../../src/move/verify.ts'
import { randomOf } from '../crash/random.ts'
import { type Copies, catchUp, copyKinds, makeCopies, sceneOf } from './copies.ts'
import { type Plant, plants } from './planted.ts'

const page = fileURLToPath(new URL('../../docs/verify.md', import.meta.url))
const [begin, end] = ['<!-- found: begin -->\n', '<!-- found: end -->']
const columns = ['running digest', 'digest of the contents', 'position ranges', 'key ranges', 'shadow reads']

describe.each(copyKinds)('the table in docs/verify.md', (kind) => {
  it(`is what is found on ${kind.name}`, async ({ skip }) => {
    // Reason: places.ts says why this machine has no such server.
    skip(kind.missing !== '', kind.missing)
    const copies = await makeCopies(kind)
    try {
      const rows: string[] = []
      for (const plant of plants) {
        if (plant.needsFence && copies.saboteur.setFence === undefined) continue
        rows.push(`| ${[plant.name, ...(await foundBy(copies, plant))].join(' | ')} |`)
      }
      if (process.env.UNDERPIN_UPDATE === '1' && rows.length === plants.length) publish(rows)
      const published = readFileSync(page, 'utf8').split('\n').map(cellsOf)
      expect(rows.map(cellsOf).filter((row) => !published.includes(row))).toEqual([])
    } finally {
      await copies.close()
    }
  }, 120_000)
})

/** A row of a table without the padding that a formatter gives it. */
function cellsOf(row: string): string {
  return row
    .split('|')
    .map((cell) => cell.trim())
    .join('|')
}

function publish(rows: readonly string[]): void {
  const table = [`| planted in the copy | ${columns.join(' | ')} |`, '|---|---|---|---|---|---|', ...rows]
  const text = readFileSync(page, 'utf8')
  const [before, after] = [text.indexOf(begin) + begin.length, text.indexOf(end)]
  writeFileSync(page, `${text.slice(0, before)}\n${table.join('\n')}\n\n${text.slice(after)}`)
}

/** By which checks the difference is found, planted twice: yes only where it is found both times. */
async function foundBy({ sides, saboteur }: Copies, { plant }: Plant): Promise<string[]> {
  const ticks = columns.map(() => 0)
  const times = 2
  for (let seed = 1; seed <= times; seed++) {
    const keys = await plant(saboteur, await sceneOf(sides, randomOf(seed)))
    const digests = await compareDigests(sides)
    const positions = await compareSides(sides, { by: 'positions' })
    const isSummed = positions.content === undefined || positions.content.fence !== positions.content.found
    const byPositions = positions.differences.some(({ key }) => key !== undefined)
    const byKeys = (await compareSides(sides, { by: 'keys' })).differences.some(
      ({ key }) => key !== undefined,
    )
    const { epoch } = await sides.target.fence('app')
    const verdicts = await lookAgain(sides, keys, {
      checkSource: checkOf(sides.source, 'app', ['authority']),
      checkTarget: checkOf(sides.target, 'app', ['follower'], epoch),
    })
    const byRead = verdicts.some((verdict) => verdict.kind === 'different')
    const found = [digests?.source !== digests?.target, isSummed, byPositions, byKeys, byRead]
    for (const [i, isFound] of found.entries()) if (isFound) ticks[i] = (ticks[i] ?? 0) + 1
    await repairCopy(sides)
    await catchUp(sides)
  }
  return ticks.map((count) => (count === times ? 'yes' : count === 0 ? 'no' : 'sometimes'))
}
