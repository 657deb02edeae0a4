/** The stores of moves that are driven by commands, each test with files of its own. */
import { copyFileSync, writeFileSync } from 'node:fs'
import { expect } from 'vitest'
import { openStore } from '../src/index.ts'
import { Cli } from './cli-process.ts'

export const cli = new Cli()
// Each test runs a dozen processes, which take their time on a busy machine: no gate may close for that.
export const patient = ['--set', 'gates.moverForMs=600000']

/** The stores of one move: files that are not there yet, and the flags that name them. */
export class Stores {
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
export function filled(size: number, domain = 'orders', text = ''): Stores {
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
export function mirrored(): Stores {
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

export function phaseOf(stores: Stores): string {
  return stores.envelope('status').data.domains[0].phase
}
