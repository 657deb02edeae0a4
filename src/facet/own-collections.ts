/** All collections that facets, and moves, keep their state in. Each declares its own when it is first used. */
import {
  movesCollection,
  plainCollection,
  processesCollection,
  repositoriesCollection,
} from '../model/collection.ts'
import { exportCollections } from './export/record.ts'
import { jobCollections } from './job/record.ts'
import { lockCollections } from './lock/lock.ts'
import { onceCollections } from './once/once.ts'
import type { OwnCollections } from './port.ts'
import { projectionCollections } from './projection/register.ts'
import { snapshotCollections } from './snapshot/snapshots.ts'
import { checkpointCollections } from './subscription/checkpoint.ts'
import { parkedCollections } from './subscription/parked.ts'

export const ownCollections: OwnCollections = {
  ...lockCollections,
  ...onceCollections,
  ...jobCollections,
  ...snapshotCollections,
  ...exportCollections,
  ...checkpointCollections,
  ...parkedCollections,
  ...projectionCollections,
  [movesCollection]: plainCollection,
  [processesCollection]: plainCollection,
  [repositoriesCollection]: plainCollection,
}
