/** Moves by their commands: what they do, what they refuse, and how they end. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { connect } from '../src/backend/sqlite/driver.ts'
import { cli, filled, mirrored, patient, phaseOf, type Stores } from './cli-move-stores.ts'
import { json, main } from './cli-process.ts'

afterAll(() => cli.remove())
vi.setConfig({ testTimeout: 120_000 })

describe('a move by its commands', () => {
  it('goes there and back and there for good, with the same stores named in every phase', () => {
    const stores = filled(500)
    const plan = stores.move('plan')
    expect(plan).toMatchObject({ code: 0, out: expect.stringContaining('500') })
    expect(existsSync(stores.file(stores.target))).toBe(false)
    expect(stores.move('start', '--until-caught-up', ...patient)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/orders {2}old → new {2}MIRRORING \d/),
    })
    expect(stores.move('verify').code).toBe(0)
    expect(stores.confirmed('cutover').code).toBe(0)
    expect(stores.envelope('status').data.domains[0]).toMatchObject({ phase: 'reversed', authority: 'new' })
    expect(stores.move('rollback').code).toBe(0)
    expect(stores.envelope('status').data.domains[0]).toMatchObject({ phase: 'mirroring', authority: 'old' })
    expect(stores.confirmed('cutover', '--by', 'ann').code).toBe(0)
    expect(stores.confirmed('complete').code).toBe(0)
    const status = stores.move('status')
    expect(status).toMatchObject({ code: 0, out: expect.stringMatching(/^orders {2}old → new {2}COMPLETED/) })
    const [{ cutovers }] = stores.envelope('report').data.domains
    expect(cutovers).toMatchObject([
      { from: 'old', to: 'new' },
      { from: 'new', to: 'old' },
      { from: 'old', to: 'new', by: 'ann' },
    ])
    expect(cli.run(['verify', '-s', stores.target]).code).toBe(0)
  })

  it('names the next commands, which can be run as they are', () => {
    const stores = filled(20)
    const { next_steps } = stores.envelope('status')
    const start = next_steps.find(({ command }: { command: string }) => command.includes(' move start '))
    const [, ...args] = start.command.split(' ')
    expect(cli.run([...args, '--detach']).code).toBe(0)
    expect(phaseOf(stores)).toBe('mirroring')
  })

  it('takes the stores from the environment, and leaves them out of the commands that it names', () => {
    const stores = filled(20)
    const env = { UNDERPIN_STORE: stores.source, UNDERPIN_TO: stores.target, UNDERPIN_DOMAIN: 'orders' }
    const { code, err } = cli.run(['move', 'status'], undefined, env)
    expect([code, err]).toEqual([0, expect.stringContaining('underpin move start\n')])
  })

  it('takes a move by its own direction, when the stores are named the other way round', () => {
    const stores = mirrored()
    const flags = ['-s', stores.target, '--to', stores.source, '-d', 'orders']
    const { out, err } = cli.run(['move', 'status', ...flags])
    expect(out).toMatch(/orders {2}old → new {2}MIRRORING/)
    expect(err).toContain('it was taken so')
    expect(cli.run(['move', 'rollback', ...flags]).out).toContain('there already')
    expect(phaseOf(stores)).toBe('mirroring')
  })

  it('calls the two stores what whoever began the move calls them', async () => {
    const stores = filled(20)
    {
      await using store = await stores.open({ from: 'file', to: 'next' })
      await (await store.move('orders', { to: 'next' })).start()
    }
    expect(stores.move('status').out).toMatch(/^orders {2}file → next {2}MIRRORING/)
    expect(stores.move('status', '--names', 'a,b').out).toMatch(/^orders {2}a → b {2}MIRRORING/)
  })

  it('moves several domains, all of them or none', () => {
    const stores = filled(50, 'orders')
    cli.run(['append', 's', '-s', stores.source, '-d', 'chat', '--create', '--type', 't', '--data', '1'])
    const both = (verb: string, ...more: string[]) =>
      cli.run(['move', verb, ...stores.flags.slice(0, 4), '-d', 'chat,orders', '--no-progress', ...more])
    expect(both('start', '--until-caught-up', ...patient).code).toBe(0)
    expect(cli.run(['move', 'verify', ...stores.flags]).code).toBe(0)
    expect(both('cutover', '--yes', '--confirm', 'chat,orders').code).toBe(7)
    expect(phaseOf(stores)).toBe('mirroring')
    expect(both('verify').code).toBe(0)
    expect(both('cutover', '--yes', '--confirm', 'orders').code).toBe(2)
    expect(both('cutover', '--yes', '--confirm', 'chat,orders').code).toBe(0)
    const { data } = cli.envelope(['move', 'status', ...stores.flags.slice(0, 4), '-d', 'chat,orders'])
    expect(data.domains).toMatchObject([
      { domain: 'chat', authority: 'new' },
      { domain: 'orders', authority: 'new' },
    ])
  })

  it('shows and changes settings, and refuses one that there is none of', () => {
    const stores = mirrored()
    expect(stores.move('set', 'maxRate=5000', 'gates.lag=7').out).toMatch(/maxRate=5000[\s\S]*gates\.lag=7/)
    expect(stores.envelope('set').data.domains[0].settings).toMatchObject({
      maxRate: 5000,
      gates: { lag: 7 },
    })
    expect(stores.move('set', 'speed=1').code).toBe(2)
    expect(stores.move('set', 'maxRate').code).toBe(2)
    expect(stores.move('pause').out).toContain('PAUSED')
    expect(stores.move('resume').out).not.toContain('PAUSED')
  })
})

describe('the names of the two sides', () => {
  it('are what kinds of stores they are, when nobody gave any, and the stores are told with them', () => {
    const stores = filled(5)
    const url = 'postgres://ada:hunter2@127.0.0.1:1/x'
    const { out } = cli.run(['move', 'status', '-s', stores.source, '--to', url])
    expect(out).toMatch(/^orders {2}sqlite → postgres/)
    expect(out).toContain(`sqlite is ${stores.source}, postgres is postgres://ada:***@127.0.0.1:1/x`)
    expect(cli.run(['move', 'status', ...stores.flags]).out).toMatch(/^orders {2}old → new/)
  })
})

describe('confirmation', () => {
  it.each([['drill', 'cutover', 'complete'], ['cancel']])(
    'is needed for %s, with the line that gives it',
    (...verbs) => {
      const stores = mirrored()
      for (const verb of verbs) {
        const { code, err } = stores.move(verb)
        expect([code, err]).toEqual([2, expect.stringContaining(`--yes --confirm ${stores.domain}`)])
        expect(stores.move(verb, '--yes').code).toBe(2)
        expect(stores.move(verb, '--yes', '--confirm', 'other').code).toBe(2)
        const [, line = ''] = /Confirm: underpin (.*)/.exec(err) ?? []
        expect(cli.run(line.split(' ')).code).toBe(0)
      }
    },
  )

  it('is asked for at a terminal, and taken only if it is the name', ({ skip }) => {
    // Reason: a terminal is made by script(1), which not every machine has.
    skip(spawnSync('script', ['--version']).status !== 0, 'there is no script(1) to make a terminal with')
    const stores = mirrored()
    const typed = (text: string) => {
      const command = `"${process.execPath}" "${main}" move cutover ${stores.flags.join(' ')}`
      return spawnSync('script', ['-qec', command, '/dev/null'], {
        cwd: cli.folder,
        input: `${text}\n`,
        encoding: 'utf8',
      })
    }
    expect(typed('orderz')).toMatchObject({
      status: 2,
      stdout: expect.stringContaining('Type orders to go on'),
    })
    expect(phaseOf(stores)).toBe('mirroring')
    expect(typed('orders').status).toBe(0)
    expect(phaseOf(stores)).toBe('reversed')
  })
})

describe('dry runs', () => {
  it('change nothing, and end with 3 if there is something to do, with 7 if it would be refused', async () => {
    const stores = filled(50)
    const start = stores.move('start', '--dry-run')
    expect(start).toMatchObject({ code: 3, out: expect.stringContaining('empty copy') })
    expect(existsSync(stores.file(stores.target))).toBe(false)
    expect(stores.move('cutover', '--dry-run').code).toBe(7)
    expect(stores.move('start', '--until-caught-up', ...patient).code).toBe(0)
    same(stores, {
      start: 3,
      run: 3,
      cutover: 7,
      rollback: 0,
      complete: 7,
      cancel: 3,
      pause: 3,
      resume: 0,
      go: 7,
    })
    expect(stores.move('verify').code).toBe(0)
    same(stores, { cutover: 3, drill: 3, repair: 0, reopen: 7, soak: 3, 'set maxRate=1': 3 })
    expect(stores.confirmed('cutover').code).toBe(0)
    same(stores, { start: 7, cutover: 0, drill: 7, rollback: 3, complete: 3, cancel: 7, run: 3 })
    expect(stores.confirmed('complete').code).toBe(0)
    same(stores, { complete: 0, cutover: 0, rollback: 7, run: 7 })
  })

  it('are refused where the command is, and find nothing to do where it does nothing', () => {
    const stores = filled(20)
    const found: Record<string, string> = {}
    const states: Readonly<Record<string, () => unknown>> = {
      unbegun: () => undefined,
      begun: () => stores.move('start', '--until-caught-up', ...patient),
      verified: () => stores.move('verify'),
      reversed: () => stores.confirmed('cutover'),
      completed: () => stores.confirmed('complete'),
    }
    for (const [state, enter] of Object.entries(states)) {
      enter()
      for (const [verb, ...flags] of quietVerbs) {
        const dry = stores.move(verb, '--dry-run')
        // What has something to do would do it.
        if (dry.code === 3) continue
        const real = stores.move(verb, ...flags)
        expect([state, verb, dry.code, real.err]).toEqual([state, verb, real.code, expect.any(String)])
        if (real.code === 7) expect(real.err).toContain('underpin move')
        found[state] = `${found[state] ?? ''} ${verb}:${dry.code}`
      }
    }
    expect(found).toEqual({
      unbegun: ' run:7 cutover:7 drill:7 complete:7 cancel:0 rollback:7 go:7 reopen:7 pause:7 resume:7',
      begun: ' cutover:7 drill:7 complete:7 rollback:0 go:7 reopen:7 resume:0',
      verified: ' complete:7 rollback:0 go:7 reopen:7 resume:0',
      reversed: ' start:7 cutover:0 drill:7 cancel:7 go:7 reopen:7 resume:0',
      completed:
        ' start:7 run:7 cutover:0 drill:7 complete:0 cancel:7 rollback:7 go:7 reopen:7 pause:7 resume:7',
    })
  })

  const confirmed = ['--yes', '--confirm', 'orders']
  const quietVerbs = [
    ...['start', 'run'].map((verb) => [verb, '--until-caught-up'] as const),
    ...['cutover', 'drill', 'complete', 'cancel'].map((verb) => [verb, ...confirmed] as const),
    ...(['rollback', 'go', 'reopen', 'pause', 'resume'] as const).map((verb) => [verb] as const),
  ] as const

  it('refuse a setting that the command refuses', () => {
    const stores = filled(5)
    expect(stores.move('start', '--set', 'maxDuty=7', '--dry-run').code).toBe(2)
    expect(stores.move('set', 'maxDuty=7', '--dry-run').code).toBe(2)
  })

  function same(stores: Stores, codes: Readonly<Record<string, number>>): void {
    const before = stores.all()
    for (const [line, code] of Object.entries(codes)) {
      const [verb = '', ...rest] = line.split(' ')
      expect([line, stores.move(verb, ...rest, '--dry-run').code]).toEqual([line, code])
    }
    expect(stores.all()).toEqual(before)
  }
})

describe('exit codes of moves', () => {
  it('tell a gate in the way (7) from sides that differ (4)', () => {
    const stores = filled(50)
    expect(stores.move('start', '--until-caught-up', ...patient).code).toBe(0)
    const early = stores.confirmed('cutover')
    expect([early.code, early.err]).toEqual([7, expect.stringContaining('verif')])
    const connection = connect(stores.file(stores.target), false)
    connection.exec(`UPDATE orders__events SET data = '{"i":-1}' WHERE position = 3`)
    connection.close()
    const { code, out } = stores.move('verify', '--json')
    expect(code).toBe(4)
    expect(json(out).at(-1)).toMatchObject({ ok: false, data: { domains: [{ isEqual: false }] } })
    expect(stores.confirmed('cutover').code).toBe(7)
    expect(stores.move('repair').code).toBe(0)
    expect(stores.move('verify').code).toBe(0)
    expect(stores.confirmed('cutover').code).toBe(0)
  })

  it('are 2 for what is wrong on the command line, 6 for a store that is not there', () => {
    const stores = filled(5)
    expect(cli.run(['move', 'status', '-s', stores.source])).toMatchObject({
      code: 2,
      err: expect.stringContaining('--to'),
    })
    expect(cli.run(['move', 'status', '-s', stores.source, '--to', stores.source]).code).toBe(2)
    for (const url of ['memory:', 'mysql://localhost/x', 'postgres://localhost:99999/x'])
      expect(cli.run(['move', 'status', '-s', stores.source, '--to', url]).code).toBe(2)
    expect(cli.run(['info', '-s', 'mysql://localhost/x']).code).toBe(2)
    expect(stores.move('status', '-d', 'none').code).toBe(2)
    expect(stores.move('status', '--names', 'one').code).toBe(2)
    expect(cli.run(['move', 'status', '-s', stores.target, '--to', stores.source]).code).toBe(6)
  })

  it.each(['status', 'verify', 'soak', 'plan'])(
    'are 6 (7 for a plan) for %s when the target does not answer, with the cause, and what the other side says',
    (verb) => {
      const stores = filled(5)
      const url = 'postgres://ada:hunter2@127.0.0.1:1/x'
      const { code, out, err } = cli.run(['move', verb, '-s', stores.source, '--to', url])
      expect([code, out + err]).toEqual([
        verb === 'plan' ? 7 : 6,
        expect.stringContaining('postgres://ada:***@127.0.0.1:1/x cannot be reached: connect ECONNREFUSED'),
      ])
      if (verb === 'status') expect(out).toMatch(/UNREACHABLE[\s\S]*sqlite accepts commits/)
      expect(out + err).not.toContain('hunter2')
    },
  )
})
