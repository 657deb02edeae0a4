/** Commands of moves that are broken off, killed or held, and what is shown meanwhile. */
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { connect } from '../src/backend/sqlite/driver.ts'
import type { Backend } from '../src/index.ts'
import { cli, filled, mirrored, patient, phaseOf, type Stores } from './cli-move-stores.ts'
import { ended, json } from './cli-process.ts'

afterAll(() => cli.remove())
vi.setConfig({ testTimeout: 120_000 })

describe('the gaps of a move', () => {
  const unknown = 'orders: whether there are gaps cannot be told'

  it('are none while it follows, and those of no move are said to be of none', () => {
    expect(mirrored().move('gaps')).toMatchObject({ code: 0, out: expect.stringContaining('No gaps') })
    expect(filled(5).move('gaps')).toMatchObject({ code: 0, out: expect.stringContaining('in no move') })
  })

  it('cannot be told while the source does not answer: only there are they noted', () => {
    const { target } = mirrored()
    const silent = 'postgres://127.0.0.1:1/x'
    const { code, out } = cli.run(['move', 'gaps', '-s', silent, '--to', target, '-d', 'orders'])
    expect([code, out]).toEqual([6, expect.stringContaining(unknown)])
    expect(out).not.toContain('No gaps')
  })

  it('cannot be told when the record of the move is damaged', () => {
    const stores = mirrored()
    const connection = connect(stores.file(stores.source), false)
    connection.exec(`UPDATE orders__s_moves SET data = '{}' WHERE id = 'current'`)
    connection.close()
    const { code, out } = stores.move('gaps')
    expect([code, out]).toEqual([1, expect.stringContaining(unknown)])
    expect(out).toContain('the record is damaged')
    expect(out).not.toContain('in no move')
  })
})

describe('interrupted and killed', () => {
  it('a start says how to go on, and what goes on ends with everything there', async () => {
    const stores = filled(20_000, 'orders', 'x'.repeat(300))
    const child = stores.start('start', '--json', '--set', 'maxRate=5000')
    const end = ended(child)
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    child.kill('SIGINT')
    const { code, out } = await end
    expect(code).toBe(130)
    const command = `underpin move run ${stores.flags.join(' ')}`
    expect(json(out).at(-1).next_steps).toContainEqual({ why: expect.any(String), command })
    expect(stores.move('set', 'maxRate=null').code).toBe(0)
    expect(cli.run([...command.split(' ').slice(1), '--until-caught-up', '--no-progress']).code).toBe(0)
    expect(stores.move('verify').code).toBe(0)
  })

  it('two movers at once, and two cutovers at once, do no harm', async () => {
    const stores = filled(5_000)
    const movers = await Promise.all(
      [1, 2].map(() => ended(stores.start('start', '--until-caught-up', '--json', ...patient))),
    )
    expect(movers.map(({ code }) => code)).toEqual([0, 0])
    expect(stores.move('verify').code).toBe(0)
    const cutovers = await Promise.all(
      [1, 2].map(() => ended(stores.start('cutover', '--yes', '--confirm', 'orders', '--json'))),
    )
    expect(cutovers.map(({ code }) => code)).toContain(0)
    expect(stores.envelope('status').data.domains[0]).toMatchObject({ phase: 'reversed', authority: 'new' })
    expect(stores.envelope('report').data.domains[0].cutovers).toHaveLength(1)
  })

  it('one command resolves whatever a cutover left that was killed on its way', async () => {
    const stores = mirrored()
    await using store = await stores.open()
    const log = store.domain('orders').log
    const left: string[] = []
    for (let round = 0; round < rounds; round++) {
      const [verb, goal] = round % 2 === 0 ? (['cutover', 'new'] as const) : (['rollback', 'old'] as const)
      await log.append('s', { type: 'before', data: round })
      left.push(
        await killedOnItsWay(stores, verb, store.backends.get(goal === 'new' ? 'old' : 'new') as Backend),
      )
      const { data, next_steps } = stores.envelope('status')
      if (['sealed', 'decided', 'turning'].includes(data.domains[0].phase)) {
        const line: string[] = next_steps[0].command.split(' ').slice(1)
        const confirmation = line.includes('cutover') ? ['--yes', '--confirm', 'orders'] : []
        expect([line, cli.run([...line, ...confirmation]).code]).toEqual([line, 0])
      }
      const [status] = stores.envelope('status').data.domains
      expect(['mirroring', 'reversed']).toContain(status.phase)
      // One that was killed before its seal, or given up, is done again: the next round begins on the other side.
      expect(verb === 'cutover' ? stores.confirmed(verb).code : stores.move(verb).code).toBe(0)
      await log.append('s', { type: 'behind', data: round })
    }
    console.log(`${rounds} cutovers killed on their way left: ${left.join(', ')}`)
    expect(left.filter((phase) => phase === 'sealed' || phase === 'decided')).not.toEqual([])
    const found: string[] = []
    for await (const { type, data } of log.events('s')) found.push(`${type} ${data}`)
    const all = Array.from({ length: rounds }, (_, round) => [`before ${round}`, `behind ${round}`])
    expect(found).toEqual(all.flat())
  })

  const rounds = Number(process.env.UNDERPIN_MOVE_KILLS ?? 4)

  /** Kills the command with SIGKILL as soon as the side that gives authority away is seen sealed; the phase that it left. */
  async function killedOnItsWay(stores: Stores, verb: string, giving: Backend): Promise<string> {
    const child = stores.start(verb, ...(verb === 'cutover' ? ['--yes', '--confirm', 'orders'] : []))
    const end = ended(child)
    while ((await giving.fence('orders')).role === 'authority' && child.exitCode === null)
      await setImmediate()
    child.kill('SIGKILL')
    await end
    return phaseOf(stores)
  }
})

describe('a cutover that is held', () => {
  it('says what it waits for, is seen in the status, and goes on by a command of another process', async () => {
    const stores = mirrored()
    const child = stores.start('cutover', '--hold', '--yes', '--confirm', 'orders')
    await once(child.stderr as NodeJS.ReadableStream, 'data')
    const end = ended(child)
    while (stores.envelope('status').data.domains[0].record.isHeld !== true) await setImmediate()
    expect(stores.move('status').out).toContain('A cutover is held, and waits for a go.')
    expect(stores.move('go')).toMatchObject({ code: 0, out: expect.stringContaining('orders goes on') })
    expect(await end).toMatchObject({ code: 0, out: expect.stringContaining('old → new  at position') })
    expect(stores.move('go')).toMatchObject({
      code: 7,
      err: expect.stringContaining('underpin move rollback'),
    })
  })
})

describe('a rollback that is to be held', () => {
  it('says nothing of a go where there is nothing to hold', () => {
    const { code, err } = mirrored().move('rollback', '--hold')
    expect([code, err]).toEqual([0, expect.not.stringContaining('Let it go on')])
  })
})

describe('what is shown of a move', () => {
  it('is redrawn as records while it is watched, until the move has ended', async () => {
    const stores = mirrored()
    const child = stores.start('status', '--watch', '--json')
    const end = ended(child)
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    expect(stores.confirmed('cancel').code).toBe(0)
    const { code, out } = await end
    const lines = json(out)
    expect(code).toBe(0)
    expect(lines[0]).toMatchObject({ kind: 'status', domain: 'orders', phase: 'mirroring' })
    expect(lines.at(-1)).toMatchObject({ v: 1, ok: true, data: { domains: [{ phase: 'none' }] } })
  })

  it('never has a password', () => {
    const stores = filled(5)
    const url = 'postgres://ada:hunter2@127.0.0.1:1/x'
    for (const verb of ['plan', 'start']) {
      const { out, err } = cli.run(['move', verb, '-s', stores.source, '--to', url, '--timeout', '1'])
      expect(out + err).not.toContain('hunter2')
    }
  })
})
