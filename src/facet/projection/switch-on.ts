/**
 * Switches a projection to inline without a gap. It is built up to the head; then its register says `draining`: from
 * that commit on every append fails its check on the register and waits; what came before is folded in, and the register
 * says `ready`: every append behind that commit updates the projection itself.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import { encodeValue } from '../../model/value.ts'
import { Lease, Leases } from '../lease.ts'
import type { Port } from '../port.ts'
import { Builder } from './builder.ts'
import type { Projection } from './definition.ts'
import {
  type Build,
  buildsOf,
  changeRegister,
  ensureBuild,
  isKept,
  type Register,
  type Run,
  readRegister,
  runKey,
  withActive,
  withBuild,
} from './register.ts'
import { defaultLeaseMs, enroll, giveBack, idleMs, isPassing, leaseIdOf, takeLease } from './run.ts'

/** Builds a declared projection, however long that takes, and switches it on. `declared`: all that this process declares. */
export async function switchOn(
  port: Port,
  projection: Projection,
  declared: readonly Projection[],
  signal: AbortSignal,
): Promise<void> {
  const enrolled = await enroll(port, projection)
  refuseOlder(enrolled, projection, declared)
  if (isLive(chosen(enrolled, projection)[1])) return
  for (;;) {
    const lease = await takeLease(port, projection, { signal })
    if (lease === undefined)
      throw new UnderpinError('aborted', `Building projection ${projection.name} was aborted`)
    try {
      return await buildUnderLease(port, projection, declared, lease, signal)
    } catch (error) {
      if (!lease.signal.aborted || signal.aborted || !isPassing(lease.signal.reason)) throw error
    } finally {
      await giveBack(lease)
    }
  }
}

async function buildUnderLease(
  port: Port,
  projection: Projection,
  declared: readonly Projection[],
  lease: Lease,
  outer: AbortSignal,
): Promise<void> {
  const signal = AbortSignal.any([outer, lease.signal])
  const options: CallOptions = { signal }
  let builder: Builder | undefined
  for (;;) {
    const register = await readRegister(port, projection.name, options)
    refuseOlder(register, projection, declared)
    const [id, build] = chosen(register, projection)
    if (isLive(build)) return
    if (builder === undefined) {
      await ensureBuild(port, projection, id)
      builder = new Builder(port, projection, id, lease)
    }
    const advance = await builder.advance(register, options)
    if (advance.kind === 'overtaken') builder.forget()
    else if (build.stage === 'draining') {
      if (builder.position < register.revision && !advance.isAtHead) continue
      await finish(port, register, id, { declared, lease, options })
    } else if (advance.isAtHead) {
      await changeRegister(port, projection.name, (found) => drained(found, register, id), {
        ...options,
        checks: [lease.check],
      })
    }
  }
}

function drained(found: Register, register: Register, id: string): Register | undefined {
  return found.revision === register.revision ? withBuild(found, id, { stage: 'draining' }) : undefined
}

/** Switches it on; versions that this process does not declare are kept as they are now. */
async function finish(
  port: Port,
  register: Register,
  id: string,
  at: { declared: readonly Projection[]; lease: Lease; options: CallOptions },
): Promise<void> {
  let changed = withActive(withBuild(register, id, { stage: 'ready', isInline: true }), id)
  const stopped = Object.entries(register.builds).filter(
    ([other, build]) =>
      other !== id &&
      build.isInline &&
      !at.declared.some(({ name, version }) => name === register.name && version === build.version),
  )
  for (const [other] of stopped) changed = withBuild(changed, other, { isInline: false, isPaused: true })
  const run: Run = { position: register.revision, events: 0, rate: 0 }
  await changeRegister(
    port,
    register.name,
    (found) => (found.revision === register.revision ? changed : undefined),
    {
      ...at.options,
      checks: [at.lease.check],
      writes: stopped.map(([other]) => ({
        kind: 'put',
        ...runKey(register.name, other),
        data: encodeValue(run),
        expiresAt: null,
      })),
    },
  )
}

/**
 * Waits until a switch is over. If the process that is at it dies, the switch is taken back: appends go on as before, and
 * the next process that declares the version switches it on. Who was only slow finds that out, and begins it again.
 */
export async function takeBack(port: Port, name: string): Promise<void> {
  const leases = new Leases(port)
  for (;;) {
    const [id, build] = drainingOf(await readRegister(port, name)) ?? []
    if (id === undefined || build === undefined) return
    const options = { ttlMs: defaultLeaseMs, waitMs: 0 }
    const taken = await leases.acquire(leaseIdOf(name, build.version), options)
    if (!(taken instanceof Lease)) {
      await sleep(port.clock, Math.max(1, Math.min(idleMs, taken.retryInMs)))
      continue
    }
    try {
      await changeRegister(
        port,
        name,
        (found) =>
          found.builds[id]?.stage === 'draining' ? withBuild(found, id, { stage: 'building' }) : undefined,
        { checks: [taken.check], signal: taken.signal },
      )
    } finally {
      await giveBack(taken)
    }
  }
}

/** The build that is being switched on. */
export function drainingOf({ builds }: Register): [string, Build] | undefined {
  return Object.entries(builds).find(([, { stage }]) => stage === 'draining')
}

/** Whether appends keep the build current. */
export function isLive(build: Build): boolean {
  return build.isInline && build.stage === 'ready' && isKept(build)
}

/** The build of the version that is switched on: the one that is, else the one under way. */
function chosen(register: Register, { name, version }: Projection): [string, Build] {
  const builds = buildsOf(register, version)
  const found = builds.find(([, build]) => isLive(build)) ?? builds.at(-1)
  if (found === undefined)
    throw new UnderpinError('invalid', `Version ${version} of projection ${name} was retired or cancelled`, {
      hint: 'rebuild() builds it again; or raise the version.',
    })
  const [id, build] = found
  if (!build.isPaused) return found
  throw new UnderpinError(
    'invalid',
    `Version ${version} of projection ${name} is paused${build.error === null ? '' : `: ${build.error}`}`,
    {
      hint: 'resume() goes on; a version that was replaced by a higher one is not switched on again.',
      details: { build: id },
    },
  )
}

/** A process with older code that starts again must not take a projection back. */
function refuseOlder(
  register: Register,
  { name, version }: Projection,
  declared: readonly Projection[],
): void {
  const newer = Object.values(register.builds).find((build) => isLive(build) && build.version > version)
  if (newer === undefined) return
  if (declared.some((each) => each.name === name && each.version === newer.version)) return
  throw new UnderpinError(
    'mismatch',
    `Projection ${name} is kept inline at version ${newer.version}; this process declares version ${version}`,
    { hint: 'Deploy the newer code. To go back to an older step, publish it under a higher version.' },
  )
}
