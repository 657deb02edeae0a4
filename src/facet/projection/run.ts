/** Running a projection: one process at a time by lease, catching up and then staying current, until told to stop. */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import { quote } from '../../model/key.ts'
import { fitText } from '../fit-text.ts'
import { Lease, Leases } from '../lease.ts'
import type { Port } from '../port.ts'
import { Builder, TableFailure } from './builder.ts'
import type { AnyProjection } from './definition.ts'
import {
  type Build,
  buildsOf,
  changeRegister,
  ensureBuild,
  isKept,
  newBuild,
  type Register,
  readRegister,
  withActive,
  withBuild,
} from './register.ts'

export interface RunOptions {
  /** Ends the run. */
  readonly signal: AbortSignal
  /** Changes that are folded into one commit at most; 1,000 if left out. */
  readonly batch?: number
  /** Milliseconds after which another process takes over from one that died; 5,000 if left out. */
  readonly leaseMs?: number
}

export const defaultLeaseMs = 5_000
/** Between two tries after a failure of the store. */
const firstRetryMs = 50
const lastRetryMs = 2_000
/** How often a build that is paused is looked at, and a lease that another process has is asked for. */
export const idleMs = 250

/** Keeps all builds of the projection's version current until the signal aborts. */
export async function runProjection(
  port: Port,
  projection: AnyProjection,
  options: RunOptions,
): Promise<void> {
  let isEnrolled = false
  let retryMs = firstRetryMs
  while (!options.signal.aborted) {
    try {
      if (!isEnrolled) await enroll(port, projection)
      isEnrolled = true
      await runUnderLease(port, projection, options)
      retryMs = firstRetryMs
    } catch (error) {
      if (options.signal.aborted && isUnderpinError(error, 'aborted')) return
      if (!isPassing(error)) throw error
      await sleep(port.clock, retryMs * (0.5 + port.clock.random()), options.signal)
      retryMs = Math.min(retryMs * 2, lastRetryMs)
    }
  }
}

/** Failures of the store that another try may not meet. */
export function isPassing(error: unknown): boolean {
  return (
    isUnderpinError(error) && (error.retryable || error.code === 'unknown' || error.code === 'lost-lease')
  )
}

/** Adds the version to the register, if it is not there. */
export async function enroll(port: Port, projection: AnyProjection): Promise<Register> {
  const { name, version } = projection
  const id = String(version)
  const add = (found: Register) => {
    if (buildsOf(found, version).length > 0) return undefined
    if (found.builds[id] !== undefined)
      throw new UnderpinError(
        'invalid',
        `Version ${version} of projection ${name} was ${found.builds[id].stage}`,
        { hint: 'rebuild() builds it again; or raise the version.' },
      )
    return { ...found, builds: { ...found.builds, [id]: { version, ...newBuild } } }
  }
  // A handler that writes nothing has the commit refused with `unsupported` where there are no tables.
  const tables = projection.kind === 'tables' ? { tables: () => {} } : {}
  const register = await changeRegister(port, name, add, tables)
  for (const [build] of buildsOf(register, version)) await ensureBuild(port, projection, build)
  return register
}

async function runUnderLease(port: Port, projection: AnyProjection, options: RunOptions): Promise<void> {
  const lease = await takeLease(port, projection, options)
  if (lease === undefined) return
  const signal = AbortSignal.any([options.signal, lease.signal])
  try {
    await tend(port, projection, lease, { ...options, signal })
  } catch (error) {
    // Calls end as aborted when the lease was lost: what counts is why.
    if (lease.signal.aborted && !options.signal.aborted) throw lease.signal.reason
    throw error
  } finally {
    await giveBack(lease)
  }
}

/** The lease under which a version is run; undefined if the signal aborted or another process has it for now. */
export async function takeLease(
  port: Port,
  { name, version }: AnyProjection,
  { signal, leaseMs = defaultLeaseMs }: RunOptions,
): Promise<Lease | undefined> {
  const leases = new Leases(port)
  const id = leaseIdOf(name, version)
  while (!signal.aborted) {
    const taken = await leases.acquire(id, { ttlMs: leaseMs, waitMs: 0, signal })
    if (taken instanceof Lease) return taken
    await sleep(port.clock, Math.max(1, Math.min(idleMs, taken.retryInMs)), signal)
  }
  return undefined
}

export function leaseIdOf(name: string, version: number): string {
  return `projection ${name} ${version}`
}

/** A lease that cannot be given back, because the store is gone or it was lost, ends by itself. */
export async function giveBack(lease: Lease): Promise<void> {
  await lease.release().catch((error: unknown) => {
    if (!isUnderpinError(error)) throw error
  })
}

interface Tending extends RunOptions {
  readonly signal: AbortSignal
}

/** Advances every build in turn; at the head, waits for a hint that something moved. */
async function tend(port: Port, projection: AnyProjection, lease: Lease, options: Tending): Promise<void> {
  const builders = new Map<string, Builder>()
  const { signal } = options
  for await (const _hint of port.watch(signal)) {
    for (let isBehind = true; isBehind && !signal.aborted; )
      isBehind = await advanceAll(port, projection, lease, builders, options)
    if (signal.aborted) break
  }
  if (lease.signal.aborted) throw lease.signal.reason
}

async function advanceAll(
  port: Port,
  projection: AnyProjection,
  lease: Lease,
  builders: Map<string, Builder>,
  { signal, batch }: Tending,
): Promise<boolean> {
  const register = await readRegister(port, projection.name, { signal })
  const builds = buildsOf(register, projection.version)
  if (builds.length === 0) throw gone(projection)
  let isBehind = false
  for (const [id, build] of builds) {
    if (build.isPaused || build.isInline || build.stage === 'draining') continue
    let builder = builders.get(id)
    if (builder === undefined) {
      await ensureBuild(port, projection, id)
      builder = new Builder(port, projection, id, lease, batch)
      builders.set(id, builder)
    }
    if (await advanceOne(port, projection, { register, id, build, builder, signal })) isBehind = true
  }
  for (const id of builders.keys()) if (!builds.some(([kept]) => kept === id)) builders.delete(id)
  return isBehind
}

interface Advancing {
  readonly register: Register
  readonly id: string
  readonly build: Build
  readonly builder: Builder
  readonly signal: AbortSignal
}

/** Whether there is more to do at once. */
async function advanceOne(port: Port, projection: AnyProjection, at: Advancing): Promise<boolean> {
  const { register, id, build, builder, signal } = at
  try {
    const advance = await builder.advance(register, { signal })
    if (advance.kind === 'overtaken') {
      builder.forget()
      return true
    }
    if (!advance.isAtHead) return true
    if (build.stage !== 'building') return false
    await becomeReady(port, projection, register, id, { signal })
    return true
  } catch (error) {
    builder.forget()
    if (isPassing(error) || (isUnderpinError(error) && ['aborted', 'closed'].includes(error.code)))
      throw error
    await pauseFor(port, projection, id, error)
    throw error instanceof TableFailure
      ? new UnderpinError('invalid', error.message, { cause: error.cause })
      : error
  }
}

/** A build that has caught up is read from now on, unless that was kept for a hand to do. */
async function becomeReady(
  port: Port,
  projection: AnyProjection,
  seen: Register,
  id: string,
  options: CallOptions,
): Promise<void> {
  await changeRegister(
    port,
    projection.name,
    (register) => {
      // It may be another build of the same name by now.
      if (register.revision !== seen.revision) return undefined
      const ready = withBuild(register, id, { stage: 'ready' })
      const isFirst = register.active === null
      // An inline projection is never replaced by one that lags, but by hand.
      const isReplaced = register.active !== null && register.builds[register.active]?.isInline !== true
      return isFirst || (isReplaced && projection.swap !== 'manual') ? withActive(ready, id) : ready
    },
    options,
  )
}

/** A step that fails would fail in every process: the build stops, and says why, until it is resumed. */
async function pauseFor(port: Port, { name }: AnyProjection, id: string, error: unknown): Promise<void> {
  const message = error instanceof Error ? error.message : String(error)
  await changeRegister(port, name, (register) => {
    const build = register.builds[id]
    if (build === undefined || !isKept(build)) return undefined
    return withBuild(register, id, { isPaused: true, error: fitText(message, 2_000) })
  })
}

function gone({ name, version }: AnyProjection): UnderpinError {
  return new UnderpinError(
    'aborted',
    `Version ${version} of projection ${quote(name)} was retired or cancelled while it ran`,
    { hint: 'rebuild() builds it again; or raise the version.' },
  )
}
