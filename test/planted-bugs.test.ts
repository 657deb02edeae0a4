import { afterAll, describe, expect, it } from 'vitest'
import { runConformance } from '../src/conformance/conformance.ts'
import { plantedBugs } from './planted-bugs/bugs.ts'

const caught: string[] = []

afterAll(() => {
  console.log(
    ['bug | caught by', ...caught, `${caught.length} of ${plantedBugs.length} planted bugs caught`].join(
      '\n',
    ),
  )
})

describe('the suite catches a planted bug', () => {
  it.each(plantedBugs.map((bug) => [bug.name, bug] as const))('%s', async (name, { law, subject }) => {
    const { results } = await runConformance(subject)
    const failed = results.filter(({ result }) => result === 'failed')
    expect(failed.map((result) => result.law)).toContain(law)
    const first = failed.find((result) => result.law === law)
    caught.push(`${name} | law ${law}: ${first?.name}`)
  })
})
