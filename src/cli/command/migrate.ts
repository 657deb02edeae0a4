/**
 * `underpin migrate`: brings a store up to date before the application runs: its schema, its domains, its collections,
 * and who may use them. All that needs a right to create; the application then runs without it.
 */
import {
  checkPostgresRole,
  grantPostgres,
  inspectPostgres,
  type PostgresGrant,
} from '../../backend/postgres/postgres.ts'
import { inspectSqlite } from '../../backend/sqlite/sqlite.ts'
import {
  type Backend,
  type DomainOptions,
  maskSecrets,
  openStore,
  type Store,
  UnderpinError,
} from '../../index.ts'
import { loadDomains } from '../domains.ts'
import type { Summary } from '../output.ts'
import { deadlineMs, filePath, type GlobalFlags, isMissingFile, isPostgres, storeUrl } from '../session.ts'
import { escapeText } from '../text.ts'

export interface MigrateFlags extends GlobalFlags {
  readonly domains?: string
  readonly backend?: string
  readonly grant?: string
  readonly facets?: boolean
  readonly dryRun?: boolean
}

type Wanted = Readonly<Record<string, DomainOptions>>
type Collections = NonNullable<DomainOptions['collections']>

interface Schema {
  readonly applied: readonly string[]
  readonly pending: readonly string[]
}

/** What a domain lacks of what was asked for. */
interface Step {
  readonly domain: string
  readonly isNew: boolean
  readonly collections: readonly { readonly name: string; readonly isNew: boolean }[]
}

/** A dry run that finds something to do is not ok: exit code 3. */
export async function migrate(flags: MigrateFlags): Promise<Summary> {
  const url = storeUrl(flags)
  if (flags.grant !== undefined && !isPostgres(url))
    throw new UnderpinError('unsupported', 'Only PostgreSQL has roles to grant anything to', {
      hint: 'Leave --grant out.',
    })
  if (flags.grant !== undefined) await checkPostgresRole(url, flags.grant)
  const { wanted, elsewhere } = await wantedDomains(flags)
  // Before anything is made: what contradicts itself is refused.
  const facets = flags.facets ?? false
  for (const [domain, options] of Object.entries(wanted)) await rehearse(domain, undefined, options, facets)
  const before = await inspect(url)
  const warnings = elsewhere.map(
    ([domain, backend]) =>
      `Domain ${domain} is placed on the backend ${backend}: run this with its URL and --backend ${backend} as well`,
  )
  return flags.dryRun
    ? { ...(await foresee(url, flags, wanted, before)), warnings }
    : { ...(await perform(url, flags, wanted, before)), warnings }
}

async function perform(url: string, flags: MigrateFlags, wanted: Wanted, before: Schema): Promise<Summary> {
  let steps: readonly Step[]
  {
    await using store = await open(url, flags)
    steps = await plan(store, wanted, flags)
    for (const [domain, { collections = {} }] of Object.entries(wanted)) {
      await store.add(domain, { collections }, true)
      if (flags.facets) await store.domain(domain).prepare()
    }
  }
  const applied = (await inspect(url)).applied.filter((name) => !before.applied.includes(name))
  const grant = flags.grant === undefined ? undefined : await grantPostgres(url, flags.grant)
  const lines = [
    ...applied.map((name) => `applied ${name}`),
    ...steps.flatMap((step) => linesOf(step, 'created', 'declared', 'extended')),
  ]
  if (lines.length === 0) lines.push('Nothing to do: all is current.')
  if (grant !== undefined) lines.push(grantLine(grant))
  return { data: { store: maskSecrets(url), isDryRun: false, applied, pending: [], steps, grant }, lines }
}

/** What would be done. A store is opened only if that does not change it. */
async function foresee(url: string, flags: MigrateFlags, wanted: Wanted, before: Schema): Promise<Summary> {
  const { applied, pending } = before
  const isNew = applied.length === 0
  let steps: readonly Step[] = []
  if (isNew) steps = await planNew(wanted, flags)
  else if (pending.length === 0) {
    await using store = await open(url, flags)
    steps = await plan(store, wanted, flags)
  }
  const isUnknown = !isNew && pending.length > 0 && Object.keys(wanted).length > 0
  const lines = [
    ...(isNew && filePath(url) !== undefined ? [`would make ${escapeText(filePath(url) ?? '')}`] : []),
    ...pending.map((name) => `would apply ${name}`),
    ...steps.flatMap((step) => linesOf(step, 'would create', 'would declare', 'would extend')),
    ...(isUnknown ? ['What the domains lack can be told when the migrations have been applied.'] : []),
  ]
  const isCurrent = lines.length === 0
  if (isCurrent) lines.push('Nothing to do: all is current.')
  if (flags.grant !== undefined) lines.push(`would grant to ${escapeText(flags.grant)} what running needs`)
  return {
    isOk: isCurrent,
    data: { store: maskSecrets(url), isDryRun: true, applied: [], pending, steps, grant: undefined },
    lines,
  }
}

/** The domains that were asked for; those of the module that belong to another backend stand aside. */
async function wantedDomains(flags: MigrateFlags) {
  const loaded = flags.domains === undefined ? {} : await loadDomains(flags.domains)
  const names = (flags.domain ?? '').split(',').map((name) => name.trim())
  const bare = names.filter((name) => name !== '' && !Object.hasOwn(loaded, name))
  const here = Object.entries(loaded).filter(([, { backend }]) => backend === flags.backend)
  const elsewhere = Object.entries(loaded).flatMap(([name, { backend }]) =>
    backend === undefined || backend === flags.backend ? [] : [[name, backend] as const],
  )
  const wanted: Wanted = Object.fromEntries([...here, ...bare.map((name) => [name, {}] as const)])
  return { wanted, elsewhere }
}

async function inspect(url: string): Promise<Schema> {
  if (isPostgres(url)) return inspectPostgres(url)
  if (filePath(url) === undefined || isMissingFile(url)) return { applied: [], pending: [] }
  return inspectSqlite(url)
}

type AnyStore = Store<Record<string, DomainOptions>>

function open(url: string, flags: GlobalFlags): Promise<AnyStore> {
  return openStore<Record<string, DomainOptions>>(url, { domains: {}, deadlineMs: deadlineMs(flags) })
}

async function plan(
  store: AnyStore,
  wanted: Wanted,
  { facets = false }: MigrateFlags,
): Promise<readonly Step[]> {
  const backend = store.backends.get('main') as Backend
  const there = await backend.domains()
  const steps: Step[] = []
  for (const [domain, options] of Object.entries(wanted)) {
    const stored = there.includes(domain) ? await storedCollections(backend, domain) : undefined
    steps.push(await rehearse(domain, stored, options, facets))
  }
  return steps
}

async function planNew(wanted: Wanted, { facets = false }: MigrateFlags): Promise<readonly Step[]> {
  const steps: Step[] = []
  for (const [domain, options] of Object.entries(wanted))
    steps.push(await rehearse(domain, undefined, options, facets))
  return steps
}

/** Declares the collections in memory, and with `facets` theirs, over what is stored, to see what changes: by the code that will do it. */
async function rehearse(
  domain: string,
  stored: Collections | undefined,
  { collections = {} }: DomainOptions,
  facets: boolean,
): Promise<Step> {
  const isOwn = (name: string) => name.startsWith('$')
  const declared = Object.entries(stored ?? {}).filter(([name]) => !isOwn(name))
  await using store: AnyStore = await openStore<Record<string, DomainOptions>>('memory:', {
    domains: { [domain]: { collections: Object.fromEntries(declared) } },
  })
  const backend = store.backends.get('main') as Backend
  const own = Object.entries(stored ?? {}).filter(([name]) => isOwn(name))
  const before = { ...(await storedCollections(backend, domain)), ...Object.fromEntries(own) }
  await store.add(domain, { collections }, false)
  if (facets) await store.domain(domain).prepare()
  const after = await storedCollections(backend, domain)
  const changed = Object.keys(after).filter(
    (name) => JSON.stringify(after[name]) !== JSON.stringify(before[name]),
  )
  return {
    domain,
    isNew: stored === undefined,
    collections: changed.map((name) => ({ name, isNew: !Object.hasOwn(before, name) })),
  }
}

/** The declarations of a domain's collections, as they are stored. */
async function storedCollections(backend: Backend, domain: string): Promise<Collections> {
  const found: [string, Collections[string]][] = []
  const query = {
    collection: '$collections',
    by: 'id',
    prefix: '',
    backwards: false,
    limit: 1_000,
  } as const
  for (let after: string | null = null; ; ) {
    const page = await backend.scan(domain, { ...query, after })
    for (const { id, data } of page.items) found.push([id, JSON.parse(data)])
    if (page.next === null) return Object.fromEntries(found)
    after = page.next
  }
}

function linesOf(
  { domain, isNew, collections }: Step,
  create: string,
  declare: string,
  extend: string,
): string[] {
  return [
    ...(isNew ? [`${create} domain ${domain}`] : []),
    ...collections.map(({ name, isNew }) => `${isNew ? declare : extend} collection ${name} of ${domain}`),
  ]
}

function grantLine({ role, schema, tables }: PostgresGrant): string {
  return `granted to ${escapeText(role)} what running needs: schema ${escapeText(schema)}, ${tables.length} tables, and those made later`
}
