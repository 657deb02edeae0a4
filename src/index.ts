export type { Backend, CallOptions, Supports } from './backend/backend.ts'
export { type DamagedRecord, type Verification, type VerifyOptions, verifyDomain } from './backend/verify.ts'
export { type Clock, systemClock } from './clock.ts'
export { type ErrorCode, errorCodes, isUnderpinError, maskSecrets, UnderpinError } from './error.ts'
export {
  type CollectionOptions,
  type CollectionsOf,
  collection,
  type DomainOptions,
  type EventsOf,
  type EventTypes,
  events,
  type IndexOptions,
} from './facet/definition.ts'
export { type DocumentPage, Documents, type ListOptions } from './facet/documents.ts'
export { Domain, type HeldLock } from './facet/domain.ts'
export type { AppendOptions, CommitOptions, CommitResult, DeleteOptions, PutOptions } from './facet/draft.ts'
export { type EventCodec, storedEvents } from './facet/event/codec.ts'
export {
  Becomes,
  becomes,
  type EventDefinition,
  type EventOptions,
  event,
  retired,
  typed,
  type Upcaster,
} from './facet/event/definition.ts'
export { defineEvents, EventDefinitions, versionOf } from './facet/event/definitions.ts'
export type { FeedItem, FeedOptions, FeedPage } from './facet/feed.ts'
export {
  defineJobs,
  type JobDefinition,
  type JobDefinitions,
  type JobOptions,
  job,
  type RetryPolicy,
} from './facet/job/definition.ts'
export {
  type Enqueued,
  type EnqueueOptions,
  type HandlersOf,
  type JobCounts,
  type JobListOptions,
  type JobPage,
  Jobs,
} from './facet/job/jobs.ts'
export type { JobError, JobInfo, JobProgress, JobState } from './facet/job/record.ts'
export type { JobContext } from './facet/job/run.ts'
export type { MissedRuns, ScheduleInfo, ScheduleOptions } from './facet/job/schedule.ts'
export { Worker, type WorkOptions } from './facet/job/worker.ts'
export type { LockOptions } from './facet/lock/lock.ts'
export { type EventPage, Log, type ReadOptions } from './facet/log.ts'
export type { OnceOptions, OnceResult, RecalledResult } from './facet/once/once.ts'
export { type IdempotencyToken, idempotencyToken } from './facet/once/token.ts'
export {
  type ProjectedEvent,
  type Projection,
  type ProjectionOptions,
  projection,
  type TableProjection,
  type TableProjectionOptions,
  tableProjection,
} from './facet/projection/definition.ts'
export { fold } from './facet/projection/fold.ts'
export { Live, type LiveChange, type LiveProjectionOptions } from './facet/projection/live.ts'
export {
  type BuildStatus,
  Projected,
  type ProjectedDocument,
  ProjectedTables,
  type ProjectionStatus,
  type WaitOptions,
} from './facet/projection/projected.ts'
export type { ReplayOptions } from './facet/projection/replay.ts'
export type { RunOptions } from './facet/projection/run.ts'
export {
  describeVerification,
  type Impurity,
  type ProjectionDifference,
  type ProjectionVerification,
} from './facet/projection/verify.ts'
export type { Schema } from './facet/schema.ts'
export type { NewEvent, StoredDocument, StoredEvent } from './facet/shape.ts'
export type { Archive } from './facet/snapshot/archive.ts'
export { archiveFolder } from './facet/snapshot/archive-folder.ts'
export type { Compaction, CompactOptions } from './facet/snapshot/compact.ts'
export type { Fold } from './facet/snapshot/fold.ts'
export type { SnapshotOutcome, SnapshotPolicy, StateOptions, StreamState } from './facet/snapshot/state.ts'
export type { ChangeFilter } from './facet/subscription/entry.ts'
export type { LiveOptions, Missed } from './facet/subscription/live.ts'
export type {
  AtLeastOnceOptions,
  ExactlyOnceOptions,
  HandlerContext,
  RetryOptions,
  SubscriptionOptions,
  TransactionContext,
} from './facet/subscription/options.ts'
export type { Lag, PartitionStatus, SubscriptionStatus, Why } from './facet/subscription/status.ts'
export { type ParkedChange, type ResetTo, Subscription } from './facet/subscription/subscription.ts'
export {
  type Collections,
  type ReplayedTransaction,
  Transaction,
  type TransactionOptions,
  type TransactionResult,
} from './facet/transaction.ts'
export type { BackendHealth, DomainHealth, HealthOptions, StoreHealth } from './health.ts'
export type { Change } from './model/change.ts'
export type { DocumentExpectation, FailedCheck, StreamExpectation } from './model/check.ts'
export type { StoredCommit, TableHandler } from './model/commit.ts'
export type { Event } from './model/event.ts'
export { type Limits, limits } from './model/limit.ts'
export type { RunInTransaction, TransactionClient } from './model/transaction-client.ts'
export { type Json, type JsonText, parseJsonText } from './model/value.ts'
export type { Attendance } from './move/attend.ts'
export type { AwaitReport, DegradedProcess } from './move/await.ts'
export type { CutOptions } from './move/cut.ts'
export type { MoveOptions } from './move/ends.ts'
export type { FollowOptions } from './move/follow.ts'
export type { Gate, GateName } from './move/gates.ts'
export { type Histogram, histogramBoundsMs } from './move/histogram.ts'
export type { Gap, Progress } from './move/mirror.ts'
export { type By, type Drill, type Ending, Move, type StartOptions } from './move/move.ts'
export { Moves, type PerDomain } from './move/moves.ts'
export type { PlanCounts } from './move/plan/count.ts'
export type { PlanFinding, PlanIssue } from './move/plan/issue.ts'
export type { Prediction } from './move/plan/predict.ts'
export type { MovePlan, PlanOptions } from './move/plan.ts'
export type { PresenceOptions, PresentProcess } from './move/presence.ts'
export type { CopyLag, Eta, MoverState } from './move/progress.ts'
export type {
  CutoverAttempt,
  DigestNote,
  MoveRecord,
  MoverNote,
  OpenDifference,
  VerifyNote,
} from './move/record.ts'
export type { RepairOptions, RepairReport, RepairStep } from './move/repair.ts'
export type { CallersPause, CutoverReport } from './move/report.ts'
export {
  changeSettings,
  defaultSettings,
  type GateLimits,
  type MoveSettings,
  type SettingsChange,
} from './move/settings.ts'
export type { ShadowCounts, ShadowExample, ShadowReport } from './move/shadow.ts'
export type { SoakOptions, SoakProgress } from './move/soak.ts'
export type { Latency, MoveStatus, NextStep, Phase } from './move/status.ts'
export type { Cause } from './move/throttle.ts'
export type { Difference, DifferenceKind, ForeignEvidence, Shown } from './move/verify/difference.ts'
export type { Checkpoint, CompareProgress } from './move/verify/pace.ts'
export type { CompareOptions, Comparison, Digests } from './move/verify.ts'
export { openBackend } from './open.ts'
export type { Flags, Placement } from './placement.ts'
export { type Domains, openStore, Store, type StoreOptions, standardWrappers, type Target } from './store.ts'
export { type Wrapper, wrap } from './wrapper/forward.ts'
export type { CallRecord } from './wrapper/observe.ts'
