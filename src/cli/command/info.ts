/** `underpin info`: what a store is, and what is in it. */
import { maskSecrets } from '../../index.ts'
import type { Summary } from '../output.ts'
import { type GlobalFlags, Session, storeUrl } from '../session.ts'
import { escapeText, toTable } from '../text.ts'

export async function info(flags: GlobalFlags): Promise<Summary> {
  await using session = await Session.open(flags)
  const { backend } = session
  const domains = []
  for (const name of await session.domainNames()) {
    const { role, epoch, head, digest } = await backend.fence(name)
    domains.push({ name, role, epoch, head, digest, collections: await session.collections(name) })
  }
  const { durability, sync, shared, tables, watch } = backend.supports
  const store = maskSecrets(storeUrl(flags))
  const rows = domains.map(({ name, role, epoch, head, digest, collections }) => [
    name,
    role,
    epoch,
    head,
    digest.slice(0, 12),
    collections.join(', '),
  ])
  return {
    data: { store, backend: backend.name, supports: backend.supports, domains },
    lines: [
      `${escapeText(store)}: durability ${durability}, ${shared ? 'shared between processes' : 'one process'}, synchronous verbs ${sync ? 'yes' : 'no'}, tables ${tables ? 'yes' : 'no'}, watch by ${watch}`,
      ...(domains.length === 0
        ? ['It has no domains yet.']
        : toTable(['domain', 'role', 'epoch', 'head', 'digest', 'collections'], rows)),
    ],
  }
}
