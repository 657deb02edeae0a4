/** A cutover whose report cannot be noted is a cutover all the same. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { memory } from '../../src/backend/memory.ts'
import { UnderpinError } from '../../src/error.ts'
import type { Write } from '../../src/model/change.ts'
import type { Move } from '../../src/move/move.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { append, createDomain, eventsOf, moveOf, type TwoSides } from './two-sides.ts'

/** What is wrong with the notes on the new side, once it has authority. */
interface Fault {
  readonly name: string
  commit?(): ReturnType<Backend['commit']>
  get?(revision: number): never
}

const faults: readonly Fault[] = [
  {
    name: 'cannot be written for now',
    commit: () => Promise.reject(new UnderpinError('unavailable', 'The disk is full')),
  },
  {
    name: 'is refused for good',
    commit: async () => [{ kind: 'refused', error: new UnderpinError('too-large', 'It is too large') }],
  },
  {
    name: 'stands on a record that is damaged',
    get(position) {
      throw new UnderpinError('damaged', 'The record current is damaged', { details: { position } })
    },
  },
]

const isNote = (write: Write) => write.kind === 'put' && write.id.startsWith('report-')

/** A side that has its fault while it is told so. */
class Noteless extends Forward {
  readonly #fault: Fault
  isFaulty = true

  constructor(fault: Fault) {
    super(memory())
    this.#fault = fault
  }

  override async commit(...call: Parameters<Backend['commit']>): ReturnType<Backend['commit']> {
    const isFault = this.isFaulty && call[2].some(({ writes }) => writes.some(isNote))
    return (isFault ? this.#fault.commit?.() : undefined) ?? this.inner.commit(...call)
  }

  override async get(...call: Parameters<Backend['get']>): ReturnType<Backend['get']> {
    const found = await this.inner.get(...call)
    const [document] = found.documents
    const isRecord = document?.kind === 'document' && document.id === 'current' && found.role === 'authority'
    if (this.isFaulty && isRecord) this.#fault.get?.(document.position)
    return found
  }
}

/** A move whose copy holds everything. */
async function following(sides: TwoSides): Promise<Move> {
  await createDomain(sides, 'app')
  const move = moveOf(sides, 'app')
  await move.start()
  await move.catchUp()
  return move
}

describe.each(faults)('a cutover whose report $name', (fault) => {
  let sides: { a: Backend; b: Noteless }
  let move: Move

  beforeEach(async () => {
    sides = { a: memory(), b: new Noteless(fault) }
    move = await following(sides)
  })
  afterEach(() => Promise.all([sides.a.close(), sides.b.close()]))

  it('is done, says what it can, and is mirrored back; status tells what is missing', async () => {
    const report = await move.cutover({ force: true, by: 'me' })
    const { epoch } = await sides.b.fence('app')
    expect(report).toMatchObject({ epoch, from: 'a', to: 'b', by: 'me', pauseMs: expect.any(Number) })
    const status = await move.status()
    expect(status).toMatchObject({ phase: 'reversed', authority: 'b', unnoted: expect.any(String) })
    expect(status.explanation).toContain(status.unnoted)

    await append(sides.b, 'app', 12)
    const { head } = await sides.b.fence('app')
    await move.catchUp()
    expect((await sides.a.fence('app')).head).toBe(head)
    sides.b.isFaulty = false
    await move.rollback({ force: true })
    expect(await move.status()).toMatchObject({ phase: 'mirroring', authority: 'a', unnoted: null })
    expect(await move.report()).toMatchObject([{ from: 'b', to: 'a' }])
    expect(await eventsOf(sides, 'app')).toEqual(Array.from({ length: 13 }, (_, i) => i))
  })
})

/** A side that refuses some commits, cannot read some records, and may take no pages. */
class Worn extends Forward {
  refuses: (write: Write) => boolean = () => false
  damaged = ''
  isAway = false

  constructor() {
    super(memory())
  }

  override async commit(...call: Parameters<Backend['commit']>): ReturnType<Backend['commit']> {
    if (!call[2].some(({ writes }) => writes.some(this.refuses))) return this.inner.commit(...call)
    return [{ kind: 'refused', error: new UnderpinError('too-large', 'It is too large') }]
  }

  override async scan(...call: Parameters<Backend['scan']>): ReturnType<Backend['scan']> {
    const page = await this.inner.scan(...call)
    const found = page.items.find(({ id }) => id === this.damaged)
    if (found === undefined) return page
    const { kind, position, collection, id } = found
    throw new UnderpinError('damaged', `The record ${id} is damaged`, {
      details: { kind, position, collection, id },
    })
  }

  override async apply(...call: Parameters<Backend['apply']>): ReturnType<Backend['apply']> {
    if (this.isAway) throw new UnderpinError('unavailable', 'It takes no pages')
    return this.inner.apply(...call)
  }
}

const says = (write: Write, part: string) => write.kind === 'put' && write.data.includes(part)

describe('a cutover', () => {
  let sides: { a: Worn; b: Worn }
  let move: Move

  beforeEach(async () => {
    sides = { a: new Worn(), b: new Worn() }
    move = await following(sides)
  })
  afterEach(() => Promise.all([sides.a.close(), sides.b.close()]))

  it('whose pause cannot be added to its report is done, and tells it', async () => {
    sides.b.refuses = (write) => isNote(write) && !says(write, '"pauseMs":null')
    const report = await move.cutover({ force: true, by: 'me' })
    const { epoch } = await sides.b.fence('app')
    expect(report).toMatchObject({ epoch, to: 'b', by: 'me', pauseMs: expect.any(Number) })
    expect(await move.status()).toMatchObject({ phase: 'reversed', authority: 'b', unnoted: null })
    expect(await move.report()).toMatchObject([{ epoch, pauseMs: null }])
  })

  it('behind another whose report is damaged is done and reported, and so are all others', async () => {
    const first = await move.cutover({ force: true })
    const back = await move.rollback({ force: true })
    sides.b.damaged = `report-${first.epoch}`
    const again = await move.cutover({ force: true, by: 'me' })
    expect(again).toMatchObject({ to: 'b', by: 'me', pauseMs: expect.any(Number) })
    expect(await move.report()).toEqual([back, again])
  })

  it('that is given up fails with its own error, though why cannot be noted', async () => {
    const { transition } = Forward.prototype
    sides.a.refuses = (write) => says(write, '"givenUp":{')
    sides.a.transition = async function (...call) {
      if (call[2].role === 'sealed') {
        sides.b.isAway = true
        await append(sides.a, 'app', 12)
      }
      return transition.apply(this, call)
    }
    await expect(move.cutover({ maxPauseMs: 100, force: true })).rejects.toMatchObject({ code: 'gate' })
    expect((await sides.a.fence('app')).role).toBe('authority')
  })
})
