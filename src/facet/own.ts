/** Applications read what facets keep, and never write it: it is right only as a whole. */
import { UnderpinError } from '../error.ts'
import { isOwnCollection } from '../model/collection.ts'
import { quote } from '../model/key.ts'

/** `invalid` for a collection of Underpin's own. */
export function refuseOwn(collection: string): void {
  if (!isOwnCollection(collection)) return
  throw new UnderpinError(
    'invalid',
    `The collection ${quote(collection)} is Underpin's own: its documents can be read, and not written`,
    { hint: 'Use the facet that keeps them.', details: { collection } },
  )
}
