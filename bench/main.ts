/**
 * `npm run bench [-- --on sqlite|postgres] [--quick] [--only ID] [--rounds N]`: measures Underpin and its peers side by
 * side and writes bench/results/ and reports/bench.jsonl, unless it was only a part. Nothing else should run on the
 * machine meanwhile.
 */
import { parseArgs } from 'node:util'
import { toFigure } from './figure.ts'
import { measure } from './measure.ts'
import { type Figure, show, writeFigures } from './report.ts'
import { backends, openSuite, type Suite } from './suite.ts'

const { values: flags } = parseArgs({
  options: {
    on: { type: 'string' },
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
  },
})
const rounds = Number(flags.rounds ?? (flags.quick ? 1 : 3))
const isWanted = (id: string) => flags.only === undefined || id === flags.only
const chosen = backends.filter((on) => flags.on === undefined || on === flags.on)
if (chosen.length === 0) throw new Error(`--on takes one of: ${backends.join(', ')}`)

for (const on of chosen) {
  const suite = await openSuite(on, flags.quick)
  if (typeof suite === 'string') {
    console.log(`Nothing is measured on ${on}: ${suite}`)
    continue
  }
  try {
    console.log(`\n${on}: ${suite.settings}\n`)
    const figures = await measureAll(suite)
    for (const figure of figures) console.log(summary(figure))
    if (flags.only === undefined) writeFigures(on, figures, settingsOf(suite))
  } finally {
    await suite.close()
  }
}

async function measureAll(suite: Suite): Promise<Figure[]> {
  const figures: Figure[] = []
  const wanted = suite.cases.filter(({ id }) => isWanted(id))
  // A goal may compare with another case, which must be measured too.
  const compared = wanted.flatMap(({ goals }) =>
    goals.flatMap((goal) => ('inCase' in goal ? goal.inCase : [])),
  )
  for (const each of suite.cases.filter((each) => wanted.includes(each) || compared.includes(each.id)))
    figures.push(toFigure(suite.on, each, await measure(each, rounds, suite), figures))
  for (const [id, run] of Object.entries(suite.others)) if (isWanted(id)) figures.push(...(await run()))
  return figures
}

function summary({ title, value, unit, goal, met }: Figure): string {
  return `${title}: ${show(value)} ${unit}${goal === '' || met === null ? '' : `; goal: ${goal}: ${met ? 'met' : 'MISSED'}`}`
}

function settingsOf({ settings }: Suite): string {
  const quick = flags.quick ? ', quick: a quarter of the records' : ''
  return `${rounds} round${rounds === 1 ? '' : 's'}${quick}, events of about 200 bytes of JSON, ${settings}`
}
