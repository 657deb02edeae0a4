/**
 * The register of a projection: one document per name in `$projections` that says which builds there are and which one
 * is read. A build is one version kept in one collection; rebuilding a version makes a second build beside the first.
 * Whoever writes documents of a build commits with a check on the register's revision, so pausing, swapping and retiring
 * take effect at once, in every process.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import type { Check } from '../../model/check.ts'
import { plainCollection } from '../../model/collection.ts'
import type { TableHandler } from '../../model/commit.ts'
import type { Document, Tombstone } from '../../model/document.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'
import type { OwnCollections, Port } from '../port.ts'
import { type AnyProjection, collectionOf } from './definition.ts'

export const registers = '$projections'
export const runs = '$projection_runs'
export const projectionCollections: OwnCollections = {
  [registers]: plainCollection,
  [runs]: plainCollection,
}

/**
 * - `building`: behind, and not read;
 * - `draining`: an inline projection about to be switched on: appends wait a moment;
 * - `ready`: caught up, and kept current by whoever runs it;
 * - `retired`, `cancelled`: its documents are freed.
 */
export type Stage = 'building' | 'draining' | 'ready' | 'retired' | 'cancelled'

export interface Build {
  readonly version: number
  readonly stage: Stage
  /** Kept current by the commits that append. */
  readonly isInline: boolean
  readonly isPaused: boolean
  /** Why it was paused by itself; null if it was not. */
  readonly error: string | null
}

interface RegisterContent {
  /** The build that is read. */
  readonly active: string | null
  /** The one that was read before it, if it is still kept. */
  readonly previous: string | null
  /** By id: the version, or the version and `_b`. */
  readonly builds: Readonly<Record<string, Build>>
}

export interface Register extends RegisterContent {
  readonly name: string
  /** 0 if there is none yet. */
  readonly revision: number
}

/** How far a build came: a document of its own, because it changes with every batch. */
export interface Run {
  /** Everything up to here is in the build's documents. */
  readonly position: number
  /** Events taken in all. */
  readonly events: number
  /** Positions per second, as the runner last measured. */
  readonly rate: number
}

export const newBuild: Omit<Build, 'version'> = {
  stage: 'building',
  isInline: false,
  isPaused: false,
  error: null,
}

export function registerKey(name: string) {
  return { collection: registers, id: name }
}

export function runKey(name: string, build: string) {
  return { collection: runs, id: `${name}@${build}` }
}

export function toRegister(name: string, record: Document | Tombstone | undefined): Register {
  if (record?.kind !== 'document') return { name, revision: 0, active: null, previous: null, builds: {} }
  return { name, revision: record.position, ...(decodeValue(record.data) as RegisterContent) }
}

export async function readRegister(port: Port, name: string, options?: CallOptions): Promise<Register> {
  const { documents } = await port.get([registerKey(name)], options)
  return toRegister(name, documents[0])
}

/** What a commit depends on that must not outlive a change of the register. */
export function registerCheck({ name, revision }: Register): Check {
  return { kind: 'document', ...registerKey(name), expect: revision === 0 ? 'absent' : revision }
}

function registerWrite(name: string, { active, previous, builds }: RegisterContent): Write {
  const data = encodeValue({ active, previous, builds } satisfies RegisterContent)
  return { kind: 'put', ...registerKey(name), data, expiresAt: null }
}

/** The register with one of its builds changed. */
export function withBuild(register: Register, id: string, change: Partial<Build>): Register {
  const build = { ...(register.builds[id] as Build), ...change }
  return { ...register, builds: { ...register.builds, [id]: build } }
}

/** The register with this build as the one that is read. */
export function withActive(register: Register, id: string): Register {
  if (register.active === id) return register
  return { ...register, active: id, previous: register.active }
}

/** What is committed together with a change of a register. */
interface Extra {
  readonly writes?: readonly Write[]
  readonly checks?: readonly Check[]
  readonly tables?: TableHandler
}

/** Changes the register, again if somebody else came between; `change` gives undefined for nothing to do. */
export async function changeRegister(
  port: Port,
  name: string,
  change: (register: Register) => Register | undefined,
  { writes = [], checks = [], tables, ...options }: CallOptions & Extra = {},
): Promise<Register> {
  await port.ensure(projectionCollections)
  for (;;) {
    const register = await readRegister(port, name, options)
    const changed = change(register)
    if (changed === undefined) return register
    const outcome = await port.commit(
      {
        at: port.clock.now(),
        writes: [registerWrite(name, changed), ...writes],
        checks: [registerCheck(register), ...checks],
        ...(tables && { tables }),
      },
      options,
    )
    if (outcome.kind === 'refused') throw outcome.error
    if (outcome.kind === 'committed') return { ...changed, revision: outcome.positions[0] as number }
    await sleep(port.clock, 5 * port.clock.random(), options.signal)
  }
}

/** Builds of a version that are kept, by id. */
export function buildsOf(register: Register, version: number): [string, Build][] {
  return Object.entries(register.builds).filter(([, build]) => build.version === version && isKept(build))
}

export function isKept({ stage }: Build): boolean {
  return stage !== 'retired' && stage !== 'cancelled'
}

/** The id for one build more of a version: the collection that no kept build of it has. */
export function freeId(register: Register, version: number): string {
  const ids = [String(version), `${version}_b`]
  const free = ids.find((id) => {
    const build = register.builds[id]
    return build === undefined || !isKept(build)
  })
  if (free !== undefined) return free
  throw new UnderpinError(
    'invalid',
    `Version ${version} of projection ${register.name} has two builds already`,
    { hint: 'Retire the one that is not read, or cancel the one that is being built.' },
  )
}

/** Declares the collection of a build. */
export async function ensureBuild(port: Port, projection: AnyProjection, id: string): Promise<void> {
  await port.ensure(projectionCollections)
  if (projection.kind === 'documents')
    await port.ensure({ [collectionOf(projection.name, id)]: projection.definition })
}
