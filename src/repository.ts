/** Repositories: moving what the application's own code keeps in tables of its own, with two implementations of one interface. */
export type { BackfillOptions, BackfillProgress, Keys } from './move/repository/backfill.ts'
export type { RepositoryPhase, Side } from './move/repository/control.ts'
export type { RepositoryCutover } from './move/repository/flip.ts'
export type { RepositoryGap } from './move/repository/gap.ts'
export {
  type FencedClient,
  PostgresFence,
  type PostgresFenceOptions,
} from './move/repository/postgres-fence.ts'
export {
  type FlipOptions,
  RepositoryMove,
  type RepositoryStatus,
  type StepOptions,
} from './move/repository/repository-move.ts'
export {
  type Repository,
  type Routed,
  type RouteOptions,
  route,
  type WriteRule,
} from './move/repository/route.ts'
export type { Compare, ShadowCounts, ShadowExample } from './move/repository/shadow.ts'
export type { Reconcile, StoreFences } from './move/repository/sides.ts'
export { type FencedHandle, SqliteFence, type SqliteFenceOptions } from './move/repository/sqlite-fence.ts'
export { StoreFence } from './move/repository/store-fence.ts'
export type { Divergence, Load, RepositoryComparison, VerifyOptions } from './move/repository/verify.ts'
