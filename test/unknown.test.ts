import { describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { openStore, UnderpinError } from '../src/index.ts'
import { Forward } from '../src/wrapper/forward.ts'

/** Applies the first commit with an id and loses its answer; then it cannot be reached. */
class LosesAnswer extends Forward {
  #lost = 0

  override async commit(...call: Parameters<Forward['commit']>) {
    if (!call[2].some(({ checks }) => checks.some(({ kind }) => kind === 'document')))
      return this.inner.commit(...call)
    if (this.#lost++ > 0) throw new UnderpinError('closed', 'gone')
    await this.inner.commit(...call)
    throw new UnderpinError('unknown', 'the connection ended')
  }
}

describe('a commit with an id whose outcome is unknown', () => {
  it('stays unknown when the attempt to find out fails too', async () => {
    const inner = memory()
    await using store = await openStore(new LosesAnswer(inner), { domains: { app: {} } })
    const call = store.domain('app').log.append('s', { type: 't', data: 1 }, { id: 'one' })
    await expect(call).rejects.toMatchObject({ code: 'unknown', cause: { code: 'closed' } })
    expect(
      (await inner.read('app', 's', { after: 0, before: 9, backwards: false, limit: 9 })).items,
    ).toHaveLength(1)
  })
})
