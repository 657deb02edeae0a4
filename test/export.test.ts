import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { collectBlobs, DirectoryBlobs } from '../src/blob.ts'
import { Exports, exportJob, exportKind } from '../src/export.ts'
import { csvCell, csvLine } from '../src/facet/export/csv.ts'
import { Signer } from '../src/facet/export/link.ts'
import { type Clock, collection, defineJobs, systemClock } from '../src/index.ts'
import { placeKinds } from './places.ts'

interface Invoice {
  readonly tenant: string
  readonly customer: string
  readonly total: number
  readonly note?: string | null
}
const domains = {
  shop: {
    collections: {
      invoices: collection<Invoice>({
        fields: { tenant: 'string', total: 'number' },
        indexes: { by_tenant: { fields: ['tenant', 'total'] } },
      }),
    },
  },
}
const dayMs = 86_400_000
const kinds = {
  invoices: exportKind<{ readonly atLeast?: number } | undefined>({
    source: (tenant, params) => ({
      of: 'documents',
      collection: 'invoices',
      index: 'by_tenant',
      equals: [tenant],
      ...(params?.atLeast === undefined ? {} : { from: params.atLeast }),
    }),
    columns: ['id', 'customer', 'total', 'note'],
    row: (item) => {
      if (item.kind !== 'document') return undefined
      const { customer, total, note } = item.value as Invoice
      return { id: item.id, customer, total, note }
    },
    byteOrderMark: true,
    fileName: (tenant) => `Rechnungen "${tenant}" für/2026`,
    keepMs: dayMs,
  }),
  history: exportKind({
    source: (tenant) => ({ of: 'stream', stream: `history-${tenant}` }),
    row: (item) => (item.kind === 'event' ? { seq: item.seq, type: item.type, data: item.data } : undefined),
  }),
  everything: exportKind({
    source: () => ({ of: 'feed' }),
    row: (item, tenant) => {
      if (item.kind === 'document') return { what: `${item.collection}/${item.id}` }
      if (item.kind === 'event') return item.stream.endsWith(tenant) ? { what: item.stream } : undefined
      return undefined
    },
  }),
  broken: exportKind({
    source: () => ({ of: 'documents', collection: 'invoices' }),
    row: () => {
      throw new RangeError('no such luck')
    },
  }),
  garbled: exportKind({
    source: () => ({ of: 'documents', collection: 'invoices' }),
    row: () => {
      throw new RangeError(`no\0 such ${'luck'.repeat(1_000_000)}`)
    },
  }),
  stray: exportKind({
    source: () => ({ of: 'documents', collection: 'nowhere' }),
    row: () => ({}),
  }),
}
const key = { id: 'k1', secret: 'a secret for the tests that is long enough' }
const url = 'https://app.example.org/exports?lang=de'

describe('a cell of CSV', () => {
  it.each([
    ['=1+1', "'=1+1"],
    ['+49 30', "'+49 30"],
    ['-1', "'-1"],
    ['@SUM(A1)', "'@SUM(A1)"],
    ['\t=1', `"'\t=1"`],
    ['\r=1', `"'\r=1"`],
    ['\n=1', `"'\n=1"`],
    ['＝1+1', "'＝1+1"],
    ['＋1', "'＋1"],
    ['－1', "'－1"],
    ['＠A', "'＠A"],
    ['  =1', "'  =1"],
    ['\u200b=1', "'\u200b=1"],
    ['\ufeff=1', "'\ufeff=1"],
    ['a=1', 'a=1'],
    ['', ''],
    ['say "hi"', '"say ""hi"""'],
    ['a,b', '"a,b"'],
    ['a;=1', '"a;=1"'],
    ['two\r\nlines', '"two\r\nlines"'],
    [' padded ', '" padded "'],
    [-5, '-5'],
    [1e21, '1e+21'],
    [0.1, '0.1'],
    [true, 'true'],
    [null, ''],
    [undefined, ''],
    [{ a: [1] }, '"{""a"":[1]}"'],
  ])('%j is written as %j', (value, cell) => {
    expect(csvCell(value)).toBe(cell)
  })

  it('that cannot be one is refused', () => {
    expect(() => csvCell(Number.NaN)).toThrow(/cell/)
    expect(() => csvCell(1n)).toThrow(/cell/)
  })

  it('makes lines that end as RFC 4180 says', () => {
    expect(csvLine(['a', 1, null])).toBe('a,1,\r\n')
  })
})

describe('a signed link', () => {
  const grant = { tenant: 'a', id: 'b&export=c', expiresAt: 1_700_000_000_000 }

  it('is what was signed, with the key that it names', () => {
    const old = new Signer([key]).sign(grant)
    const rotated = new Signer([{ id: 'k2', secret: 'another secret that is long enough, too' }, key])
    expect(rotated.verify(old)).toEqual(grant)
    expect(rotated.sign(grant).get('key')).toBe('k2')
    expect(new Signer([{ ...key, secret: 'x'.repeat(32) }]).verify(old)).toBeUndefined()
    expect(new Signer([{ ...key, id: 'other' }]).verify(old)).toBeUndefined()
  })

  it.each(['tenant', 'export', 'expires', 'key', 'signature'])(
    'is worth nothing with another %s, none, or two',
    (part) => {
      const signer = new Signer([key, { id: 'k2', secret: key.secret }])
      const signed = signer.sign(grant)
      for (const value of ['k2', '', '1700000000001', '01700000000000', '1.7e12', 'b']) {
        const changed = new URLSearchParams(signed)
        changed.set(part, value)
        expect(signer.verify(changed)).toBeUndefined()
      }
      const missing = new URLSearchParams(signed)
      missing.delete(part)
      expect(signer.verify(missing)).toBeUndefined()
      const doubled = new URLSearchParams(signed)
      doubled.append(part, 'x')
      expect(signer.verify(doubled)).toBeUndefined()
    },
  )

  it('is not made with keys that are none', () => {
    const missing = { id: 'a', secret: undefined as never }
    for (const keys of [[], [{ id: 'a', secret: 'short' }], [missing], [key, key]])
      expect(() => new Signer(keys)).toThrow(expect.objectContaining({ code: 'invalid' }))
  })
})

describe.each(placeKinds)('exports on $name', ({ make, missing }) => {
  let folder: string
  let blobs: DirectoryBlobs
  let offsetMs: number
  const clock: Clock = { ...systemClock, now: () => Date.now() + offsetMs }
  let exports: Exports<typeof kinds>
  let domain: Awaited<ReturnType<typeof open>>
  const ends: AbortController[] = []

  async function open() {
    return (await make().open(domains, { clock })).domain('shop')
  }

  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    offsetMs = 0
    folder = mkdtempSync(join(tmpdir(), 'underpin-export-'))
    blobs = await DirectoryBlobs.open(folder, { clock })
    domain = await open()
    exports = new Exports(domain, { blobs, kinds, keys: [key] })
    const put = (id: string, invoice: Invoice) => domain.documents('invoices').put(id, invoice)
    await put('1', { tenant: 'acme', customer: '=cmd|calc', total: -3, note: 'a "b"' })
    await put('2', { tenant: 'acme', customer: 'Ödön', total: 7 })
    await put('3', { tenant: 'other', customer: 'secret', total: 9 })
    await domain.log.append('history-acme', [
      { type: 'opened', data: { at: 1 } },
      { type: 'closed', data: null },
    ])
  })
  afterEach(() => {
    for (const end of ends.splice(0)) end.abort()
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
  })

  /** Works until an export is over. */
  async function work(tenant: string, id: string) {
    const end = new AbortController()
    ends.push(end)
    const working = exports.work({ signal: end.signal, pollMs: 10 })
    const isOver = async () => {
      const state = (await exports.get(tenant, id))?.state
      return state !== 'requested' && state !== 'running'
    }
    while (!(await isOver())) await pause(5)
    end.abort()
    await working
    return exports.get(tenant, id)
  }

  async function fetchOf(link: string | undefined, init?: RequestInit) {
    return exports.handle(new Request(link as string, init))
  }

  async function auditOf(tenant: string) {
    const types: string[] = []
    for await (const { type } of exports.audit(tenant)) types.push(type)
    return types
  }

  it('go from requested to ready, are downloaded by a link, expire, and leave an audit', async () => {
    const { id, state } = await exports.request('acme', {
      kind: 'invoices',
      format: 'csv',
      requestedBy: 'ada',
    })
    expect(state).toBe('requested')
    await expect(exports.link('acme', id, { url })).rejects.toMatchObject({
      code: 'conflict',
      details: { state },
    })
    expect(await work('acme', id)).toMatchObject({ state: 'ready', rows: 2, requestedBy: 'ada' })
    const link = await exports.link('acme', id, { url })
    expect(link).toMatch(/^https:\/\/app\.example\.org\/exports\?lang=de&/)
    const response = await fetchOf(link)
    expect(response.status).toBe(200)
    expect(await response.text()).toBe(
      `id,customer,total,note\r\n1,'=cmd|calc,-3,"a ""b"""\r\n2,Ödön,7,\r\n`.replace(
        "'=cmd|calc",
        `"'=cmd|calc"`,
      ),
    )
    const headers = Object.fromEntries(response.headers)
    expect(headers).toMatchObject({
      'content-type': 'text/csv; charset=utf-8',
      'cache-control': 'private, no-store',
      'x-content-type-options': 'nosniff',
      'content-disposition': `attachment; filename="Rechnungen _acme_ f_r_2026.csv"; filename*=UTF-8''Rechnungen%20%22acme%22%20f%C3%BCr_2026.csv`,
    })
    const bytes = new Uint8Array(await (await fetchOf(link)).arrayBuffer())
    expect([...bytes.subarray(0, 5)]).toEqual([0xef, 0xbb, 0xbf, 0x69, 0x64])
    const head = await fetchOf(link, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
    expect((await fetchOf(link, { method: 'POST' })).status).toBe(405)
    offsetMs = dayMs + 1
    expect((await fetchOf(link)).status).toBe(410)
    await exports.request('acme', { kind: 'history', format: 'ndjson', id: 'another' })
    await work('acme', 'another')
    while ((await exports.get('acme', id))?.state !== 'expired') await work('acme', id)
    const [first] = await auditOf('acme')
    expect(first).toBe('export.requested')
    expect((await auditOf('acme')).filter((type) => type !== 'export.requested').sort()).toEqual([
      'export.downloaded',
      'export.downloaded',
      'export.expired',
      'export.ready',
      'export.ready',
    ])
  })

  it('are worked on until a signal that is given by name', async () => {
    for (const wrong of [undefined, {}, AbortSignal.abort()])
      await expect(exports.work(wrong as never)).rejects.toThrow('work({ signal })')
  })

  it('keep tenants apart: what is another’s is not there', async () => {
    const { id } = await exports.request('acme', { kind: 'invoices', format: 'csv', id: 'mine' })
    await work('acme', id)
    for (const tenant of ['other', 'acme/mine', 'acm', 'ACME', '%61cme']) {
      expect(await exports.get(tenant, id)).toBeUndefined()
      expect(await exports.list(tenant)).toEqual([])
      expect(await exports.link(tenant, id, { url })).toBeUndefined()
      expect(await exports.cancel(tenant, id)).toBe(false)
      expect(await auditOf(tenant)).toEqual([])
    }
    const link = new URL((await exports.link('acme', id, { url })) as string)
    await exports.request('other', { kind: 'invoices', format: 'csv', id: 'mine' })
    link.searchParams.set('tenant', 'other')
    expect((await fetchOf(link.href)).status).toBe(403)
    const { id: everything } = await exports.request('other', { kind: 'everything', format: 'ndjson' })
    await work('other', everything)
    const text = await (await fetchOf(await exports.link('other', everything, { url }))).text()
    expect(
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).what),
    ).toEqual(['invoices/1', 'invoices/2', 'invoices/3'])
  })

  it('read streams as NDJSON, and may be empty', async () => {
    await exports.request('acme', { kind: 'history', format: 'ndjson', id: 'h' })
    await exports.request('nobody', { kind: 'history', format: 'ndjson', id: 'h' })
    await work('acme', 'h')
    await work('nobody', 'h')
    expect(await (await fetchOf(await exports.link('acme', 'h', { url }))).text()).toBe(
      '{"seq":1,"type":"opened","data":{"at":1}}\n{"seq":2,"type":"closed","data":null}\n',
    )
    expect(await (await fetchOf(await exports.link('nobody', 'h', { url }))).text()).toBe('')
  })

  it('are the same when requested again under their id, and refused as something else', async () => {
    const asked = { kind: 'invoices', format: 'csv', id: 'once', params: { atLeast: 0 } } as const
    await Promise.all([1, 2, 3].map(() => exports.request('acme', asked)))
    expect(await auditOf('acme')).toEqual(['export.requested'])
    await expect(exports.request('acme', { ...asked, params: { atLeast: 1 } })).rejects.toMatchObject({
      code: 'mismatch',
    })
    expect(await work('acme', 'once')).toMatchObject({ rows: 1 })
    await expect(exports.request('acme', { kind: 'nothing', format: 'csv' } as never)).rejects.toMatchObject({
      code: 'invalid',
    })
    await expect(exports.request('acme', { kind: 'history', format: 'csv' })).rejects.toMatchObject({
      code: 'invalid',
    })
    await expect(exports.request('', asked)).rejects.toMatchObject({ code: 'invalid' })
  })

  it('that fail with a text that cannot be kept whole keep what can be, and hold up no worker', async () => {
    await exports.request('acme', { kind: 'garbled', format: 'ndjson', id: 'g' })
    const { error } = (await work('acme', 'g')) as { error: string }
    expect(error).toMatch(/^Row 1 could not be made: no such luck(luck|l|lu|luc)+$/)
    expect(error.length).toBeLessThanOrEqual(2_000)
  })

  it('that fail say why, at once if the application’s own functions do', async () => {
    await exports.request('acme', { kind: 'broken', format: 'ndjson', id: 'b' })
    await exports.request('acme', { kind: 'stray', format: 'ndjson', id: 's' })
    expect(await work('acme', 'b')).toMatchObject({
      state: 'failed',
      error: 'Row 1 could not be made: no such luck',
    })
    expect(await work('acme', 's')).toMatchObject({
      state: 'failed',
      error: expect.stringContaining('nowhere'),
    })
    expect((await auditOf('acme')).sort()).toEqual([
      'export.failed',
      'export.failed',
      'export.requested',
      'export.requested',
    ])
  })

  it('can be cancelled until they are over, also while one works on them', async () => {
    await exports.request('acme', { kind: 'invoices', format: 'csv', id: 'c' })
    expect(await exports.cancel('acme', 'c', { by: 'eve' })).toBe(true)
    expect(await exports.cancel('acme', 'c')).toBe(false)
    expect(await exports.run('acme', 'c')).toMatchObject({ state: 'cancelled' })
    expect(await auditOf('acme')).toEqual(['export.requested', 'export.cancelled'])
  })

  it('are made once, with one audit, when two work on them without knowing of each other', async () => {
    await exports.request('acme', { kind: 'invoices', format: 'csv', id: 'twice' })
    const both = await Promise.all([exports.run('acme', 'twice'), exports.run('acme', 'twice')])
    expect(both.map((info) => info?.state)).toEqual(['ready', 'ready'])
    expect(await auditOf('acme')).toEqual(['export.requested', 'export.ready'])
  })

  it('are jobs if they are given some: enqueued with the request, made by a worker, and ended in their time', async () => {
    const jobs = domain.jobs(defineJobs({ export: exportJob }))
    let failing = 1
    const flaky = new Proxy(blobs, {
      get(target, name) {
        if (name === 'put' && failing-- > 0) return () => Promise.reject(new Error('The disk is busy'))
        const value = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    exports = new Exports(domain, { blobs: flaky, kinds, keys: [key], jobs })
    const { id } = await exports.request('acme', { kind: 'invoices', format: 'csv', id: 'mine' })
    await exports.request('acme', { kind: 'invoices', format: 'csv', id })
    const [asked, ...others] = (await jobs.list()).jobs
    expect([asked?.data, others]).toEqual([{ tenant: 'acme', id }, []])
    const worker = await jobs.work({ export: exports.job })
    try {
      expect(await jobs.finished(asked?.id as string)).toMatchObject({
        state: 'completed',
        attempt: 2,
        error: undefined,
      })
      expect(await exports.get('acme', id)).toMatchObject({ state: 'ready', rows: 2 })
      expect((await jobs.list({ state: 'delayed' })).jobs).toMatchObject([{ data: { tenant: 'acme', id } }])
      offsetMs = dayMs + 1_000
      // It also makes the worker look, who does not notice that its clock was set.
      const broken = await exports.request('acme', { kind: 'broken', format: 'ndjson' })
      const states = () =>
        Promise.all([id, broken.id].map(async (each) => (await exports.get('acme', each))?.state))
      await expect.poll(states).toEqual(['expired', 'failed'])
    } finally {
      await worker.stop()
    }
  })

  it('keep their files while they are ready, and let them be collected when they have expired', async () => {
    await exports.request('acme', { kind: 'invoices', format: 'csv', id: 'f' })
    await work('acme', 'f')
    offsetMs = dayMs - 1_000
    const options = { domains: [domain], graceMs: 1 }
    expect(await collectBlobs(blobs, options)).toMatchObject({ kept: 1, removed: 0 })
    const link = await exports.link('acme', 'f', { url, expiresInMs: 10 * dayMs })
    expect((await fetchOf(link)).status).toBe(200)
    offsetMs = dayMs + 1_000
    expect((await fetchOf(link)).status).toBe(410)
    while ((await exports.get('acme', 'f'))?.state !== 'expired') {
      const end = new AbortController()
      const working = exports.work({ signal: end.signal, pollMs: 5 })
      await pause(50)
      end.abort()
      await working
    }
    expect(await collectBlobs(blobs, options)).toMatchObject({ kept: 0, removed: 1 })
  })
})
