/** Whether all events are still there: what folds from the first event on cannot do without those that were truncated. */
import type { CallOptions } from '../../backend/backend.ts'
import { UnderpinError } from '../../error.ts'
import { definitionsCollection } from '../../model/collection.ts'
import { quote } from '../../model/key.ts'
import { truncationsCollection } from '../../model/truncation.ts'
import type { Port } from '../port.ts'

/** `truncated` if events of a stream were removed. */
export async function refuseTruncated(port: Port, name: string, options?: CallOptions): Promise<void> {
  const { documents } = await port.get(
    [{ collection: definitionsCollection, id: truncationsCollection }],
    options,
  )
  if (documents[0]?.kind !== 'document') return
  const page = await port.scan(
    { collection: truncationsCollection, by: 'id', prefix: '', backwards: false, limit: 1, after: null },
    options,
  )
  const [first] = page.items
  if (first === undefined) return
  throw new UnderpinError(
    'truncated',
    `Projection ${name} cannot be folded from the first event on: events of stream ${quote(first.id)} were truncated`,
    {
      hint: 'What is built goes on. A new version would leave out what was truncated: build it before the next compaction.',
      details: { stream: first.id },
    },
  )
}
