/** Opens a domain with the projections that its appends keep current. */
import { UnderpinError } from '../../error.ts'
import type { Document } from '../../model/document.ts'
import type { Cursor, Page, Query } from '../../model/page.ts'
import type { Port } from '../port.ts'
import type { Projection } from './definition.ts'
import { InlinePort } from './inline-port.ts'
import { registers, toRegister } from './register.ts'
import { Registers } from './registers.ts'
import { isLive, switchOn } from './switch-on.ts'

const registersQuery: Query = {
  collection: registers,
  by: 'id',
  prefix: '',
  backwards: false,
  limit: 1_000,
  after: null,
}

/**
 * The port with the declared projections in it, each built first if there are events already. `stored`: whether the
 * domain may have projections; those that are inline and not declared have appends refused.
 */
export async function openInline(
  port: Port,
  declared: readonly Projection[],
  stored: boolean,
): Promise<Port> {
  checkDeclared(declared)
  const inline = stored ? inlineNames(await port.scan(registersQuery)) : []
  if (declared.length === 0 && inline.length === 0) return port
  const never = new AbortController().signal
  for (const projection of declared) await switchOn(port, projection, declared, never)
  const names = [...inline, ...declared.map(({ name }) => name)]
  return new InlinePort(port, new Registers(declared, names))
}

/** The names of projections that are kept in commits. */
export function inlineNames(page: Page<Document, Cursor | null>): string[] {
  return page.items
    .map((record) => toRegister(record.id, record))
    .filter(({ builds }) => Object.values(builds).some(isLive))
    .map(({ name }) => name)
}

export { registersQuery }

function checkDeclared(declared: readonly Projection[]): void {
  const seen = new Set<string>()
  for (const { kind, name, version } of declared) {
    if (kind !== 'documents')
      throw new UnderpinError('unsupported', `Projection ${name} writes tables, which it cannot do inline`, {
        hint: 'Run it: domain.projection(…).run({ signal }). Or write tables with tx.tables.',
      })
    if (seen.has(`${name} ${version}`))
      throw new UnderpinError('invalid', `Projection ${name} version ${version} is declared inline twice`)
    seen.add(`${name} ${version}`)
  }
}
