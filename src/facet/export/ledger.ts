/** The exports of a domain as they are found and changed: a change and its audit event are one commit. */
import type { CallOptions } from '../../backend/backend.ts'
import { isUnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import { Draft } from '../draft.ts'
import type { Port } from '../port.ts'
import { send } from '../send.ts'
import { toStoredDocument } from '../shape.ts'
import { auditStream, type ExportEvent, type ExportRecord, exportsCollection, keyOf } from './record.ts'

export interface FoundExport {
  readonly key: string
  readonly revision: number
  readonly record: ExportRecord
}

/** An event without what all of them say. */
export interface Audit {
  readonly type: ExportEvent['type']
  readonly facts?: Readonly<Record<string, unknown>>
}

export class Ledger {
  readonly port: Port

  constructor(port: Port) {
    this.port = port
  }

  async find(key: string, options: CallOptions = {}): Promise<FoundExport | undefined> {
    const { documents } = await this.port.get([{ collection: exportsCollection, id: key }], options)
    const found = toStoredDocument<ExportRecord>(documents[0], this.port.clock.now())
    return found && { key, revision: found.revision, record: found.value }
  }

  /** Puts an export that is not there, with further writes; false if it is. */
  add(record: ExportRecord, audit: Audit, writes: readonly Write[], options: CallOptions): Promise<boolean> {
    return this.#commit(keyOf(record.tenant, record.id), 'absent', record, audit, options, writes)
  }

  /**
   * Changes an export, if nobody else has meanwhile. False means: look again. So it does when the outcome is unknown:
   * whoever looks finds the change, its event included, or neither.
   */
  change(
    { key, revision }: FoundExport,
    next: ExportRecord,
    audit: Audit | undefined,
    options: CallOptions = {},
  ): Promise<boolean> {
    return this.#commit(key, revision, next, audit, options)
  }

  async #commit(
    key: string,
    expect: number | 'absent',
    record: ExportRecord,
    audit: Audit | undefined,
    options: CallOptions,
    writes: readonly Write[] = [],
  ): Promise<boolean> {
    const draft = new Draft(this.port)
    draft.put(exportsCollection, this.port.collection(exportsCollection), key, record, { expect })
    if (audit !== undefined) {
      const data = { export: record.id, kind: record.kind, ...audit.facts }
      draft.append(auditStream(record.tenant), { type: audit.type, data })
    }
    for (const write of writes) draft.write(write)
    try {
      await send(this.port, draft, options)
      return true
    } catch (error) {
      if (isUnderpinError(error, 'conflict') || isUnderpinError(error, 'unknown')) return false
      throw error
    }
  }
}
