/** `underpin info`: what a store is, and what is in it. */

import type { Summary } from '../output.ts'
import { type GlobalFlags, Session } from '../session.ts'
import { toTable } from '../text.ts'

export async function info(flags: GlobalFlags): Promise<Summary> {
  const session = await Session.open(flags)
  try {
    const { backend } = session
    const names = flags.domain === undefined ? await backend.domains() : [flags.domain]
    const domains = []
    for (const name of names) {
      const { role, epoch, head, digest } = await backend.fence(name)
      const collections = role === 'vacant' ? [] : await collectionsOf(session, name)
      domains.push({ name, role, epoch, head, digest, collections })
    }
    const { durability, sync, shared, tables, watch } = backend.supports
    const rows = domains.map(({ name, role, epoch, head, digest, collections }) => [
      name,
      role,
      epoch,
      head,
      digest.slice(0, 12),
      collections.join(', '),
    ])
    return {
      data: { backend: backend.name, supports: backend.supports, domains },
      lines: [
        `${backend.name}: durability ${durability}, ${shared ? 'shared between processes' : 'one process'}, synchronous verbs ${sync ? 'yes' : 'no'}, tables ${tables ? 'yes' : 'no'}, watch by ${watch}`,
        ...(domains.length === 0
          ? ['It has no domains yet.']
          : toTable(['domain', 'role', 'epoch', 'head', 'digest', 'collections'], rows)),
      ],
    }
  } finally {
    await session.close()
  }
}

async function collectionsOf({ backend }: Session, domain: string): Promise<string[]> {
  const query = {
    collection: '$collections',
    by: 'id',
    prefix: '',
    backwards: false,
    limit: 1_000,
    after: null,
  }
  const { items } = await backend.scan(domain, query as Parameters<typeof backend.scan>[1])
  return items.map(({ id }) => id)
}
