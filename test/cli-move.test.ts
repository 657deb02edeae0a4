import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, writeFileSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { connect } from '../src/backend/sqlite/driver.ts'
import { type Backend, openStore } from '../src/index.ts'
import { Cli, ended, json, main } from './cli-process.ts'

const cli = new Cli()
afterAll(() => cli.remove())
// Each test runs a dozen processes, which take their time on a busy machine; nor may a gate close for that.
vi.setConfig({ testTimeout: 120_000 })
const patient = ['--set', 'gates.moverForMs=600000']

/** The stores of one move: files that are not there yet, and the flags that name them. */
class Stores {
  static #count = 0
  readonly #name = `move-${++Stores.#count}`
  readonly domain: string

  constructor(domain = 'orders') {
    this.domain = domain
  }

  get source(): string {
    return `sqlite:./${this.#name}-old.db`
  }

  get target(): string {
    return `sqlite:./${this.#name}-new.db`
  }

  /** A file by the URL that names it. */
  file(url: string): string {
    return cli.path(url.replace('sqlite:./', ''))
  }

  get flags(): readonly string[] {
    return ['-s', this.source, '--to', this.target, '-d', this.domain]
  }

  /** `underpin move VERB` to its end. */
  move(verb: string, ...more: readonly string[]) {
    return cli.run(['move', verb, ...this.flags, '--no-progress', ...more])
  }

  /** The envelope that it ends with. */
  envelope(verb: string, ...more: readonly string[]) {
    return cli.envelope(['move', verb, ...this.flags, '--no-progress', ...more])
  }

  start(verb: string, ...more: readonly string[]) {
    return cli.start(['move', verb, ...this.flags, ...more])
  }

  confirmed(verb: string, ...more: readonly string[]) {
    return this.move(verb, '--yes', '--confirm', this.domain, ...more)
  }

  async open({ from, to } = { from: 'old', to: 'new' }) {
    const places = { [from]: this.#absolute(this.source), [to]: this.#absolute(this.target) }
    return openStore<Record<string, object>>(places, { domains: { [this.domain]: {} } })
  }

  /** Both fences, and all that is noted of the move. */
  all(): unknown {
    const { data } = this.envelope('status')
    const [{ fences, record }] = data.domains
    return { fences, record }
  }

  #absolute(url: string): string {
    return url.replace('./', `${cli.folder}/`)
  }
}

/** A source with so many events. */
function filled(size: number, domain = 'orders', text = ''): Stores {
  const stores = new Stores(domain)
  const lines = Array.from({ length: size }, (_, i) =>
    JSON.stringify({ stream: `s-${i % 7}`, type: 't', data: { i, text } }),
  )
  writeFileSync(cli.path('lines.ndjson'), lines.join('\n'))
  expect(
    cli.run(['import', 'lines.ndjson', '-s', stores.source, '-d', domain, '--create', '--no-progress']).code,
  ).toBe(0)
  return stores
}

let template: Stores | undefined

/** The same, copied and verified: ready for a cutover. Made once by the commands themselves, then copied. */
function mirrored(): Stores {
  if (template === undefined) {
    template = filled(100)
    expect(template.move('start', '--until-caught-up', ...patient).code).toBe(0)
    expect(template.move('verify').code).toBe(0)
  }
  const stores = new Stores()
  copyFileSync(template.file(template.source), stores.file(stores.source))
  copyFileSync(template.file(template.target), stores.file(stores.target))
  return stores
}

function phaseOf(stores: Stores): string {
  return stores.envelope('status').data.domains[0].phase
}

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
