/** A projection as an application holds it: reading it, running it, and replacing one version by the next. */
import type { CallOptions } from '../../backend/backend.ts'
import { UnderpinError } from '../../error.ts'
import { quote } from '../../model/key.ts'
import type { Position } from '../../model/position.ts'
import { decodeValue } from '../../model/value.ts'
import { type DocumentPage, Documents, type ListOptions } from '../documents.ts'
import { checkAfter } from '../feed.ts'
import type { Port } from '../port.ts'
import type { StoredDocument } from '../shape.ts'
import { clearCollection } from './builder.ts'
import { type AnyProjection, collectionOf, type Projection, type TableProjection } from './definition.ts'
import { type Live, type LiveProjectionOptions, startLive } from './live.ts'
import {
  type Build,
  buildsOf,
  changeRegister,
  ensureBuild,
  freeId,
  isKept,
  newBuild,
  projectionCollections,
  type Register,
  type Run,
  readRegister,
  registerCheck,
  registerKey,
  runKey,
  toRegister,
  withActive,
  withBuild,
} from './register.ts'
import { type ReplayOptions, replay } from './replay.ts'
import { type RunOptions, runProjection } from './run.ts'
import { isLive } from './switch-on.ts'
import { type ProjectionVerification, verifyProjection } from './verify.ts'
import { refuseTruncated } from './whole.ts'

/** A projected document: `version` is that of the projection that made it. */
export type ProjectedDocument<S> = StoredDocument<S> & { readonly version: number }

export interface BuildStatus {
  /** The version, or the version and `_b`. */
  readonly build: string
  readonly version: number
  /** `paused` goes before the rest; `active` is the one that is read. */
  readonly state: 'building' | 'draining' | 'ready' | 'active' | 'retired' | 'paused' | 'cancelled'
  readonly mode: 'inline' | 'asynchronous'
  /** Everything up to here is in it. */
  readonly position: Position
  /** From 0 to 1: `position` of the head. */
  readonly progress: number
  /** Positions that it is behind; changes that are no events count too. */
  readonly lag: number
  /** Positions per second, as the runner last measured. */
  readonly rate: number
  /** Seconds until it has caught up at that rate; undefined if that cannot be told. */
  readonly etaSeconds: number | undefined
  /** Why it was paused by itself. */
  readonly error: string | undefined
}

export interface ProjectionStatus {
  readonly name: string
  /** The version that is read; undefined while the first one is being built. */
  readonly active: number | undefined
  /** The version that `rollback` goes back to. */
  readonly previous: number | undefined
  readonly head: Position
  readonly builds: readonly BuildStatus[]
}

export interface WaitOptions extends CallOptions {
  /** `timeout` after so many milliseconds; the store's deadline if left out. */
  readonly timeoutMs?: number
}

const waitPollMs = 100

/** What both kinds of projection can: run, status, and the life of versions. */
export class ProjectedTables<P extends AnyProjection = TableProjection> {
  protected readonly port: Port
  protected readonly projection: P

  /** Use `domain.projection(…)`. */
  constructor(port: Port, projection: P) {
    this.port = port
    this.projection = projection
  }

  /**
   * Keeps this version current until the signal aborts: catches up, then follows. One process does so at a time, others
   * that call it stand by. Fails with `invalid` when a step fails (the projection is paused, with the reason in its
   * status), with `unsupported` for tables on a store that has none; failures of the store are tried again.
   */
  async run(options: RunOptions): Promise<void> {
    refuseEndless('run', options)
    return runProjection(this.port, this.projection, options)
  }

  /** Where every version stands. */
  async status(options: CallOptions = {}): Promise<ProjectionStatus> {
    await this.port.ensure(projectionCollections)
    const register = await readRegister(this.port, this.projection.name, options)
    const ids = Object.keys(register.builds)
    const { documents, head } = await this.port.get(
      [registerKey(register.name), ...ids.map((id) => runKey(register.name, id))],
      options,
    )
    const builds = ids.map((id, i) => {
      const record = documents[i + 1]
      const run = record?.kind === 'document' ? (decodeValue(record.data) as Run) : undefined
      return statusOf(register, id, run, head)
    })
    return {
      name: register.name,
      active: versionOf(register, register.active),
      previous: versionOf(register, register.previous),
      head,
      builds,
    }
  }

  /**
   * Resolves when every event up to a position is in what is read: `await waitFor((await log.append(…)).position)`.
   * `timeout` if nobody runs the projection, or not fast enough.
   */
  async waitFor(
    position: Position,
    { timeoutMs = this.port.deadlineMs, signal }: WaitOptions = {},
  ): Promise<void> {
    checkAfter(position)
    await this.port.ensure(projectionCollections)
    const since = this.port.clock.monotonic()
    for (;;) {
      if (await this.#isAt(position, signal && { signal })) return
      if (signal?.aborted)
        throw new UnderpinError('aborted', `Waiting for position ${position} was aborted`, {
          cause: signal.reason,
        })
      const leftMs = timeoutMs - (this.port.clock.monotonic() - since)
      if (leftMs <= 0) throw await this.#late(position, timeoutMs)
      await this.#hint(Math.min(leftMs, waitPollMs), signal)
    }
  }

  /** Stops this version where it is; it is read as before. */
  async pause(options: CallOptions = {}): Promise<void> {
    await this.#changeOwn(options, (build) => {
      if (build.isInline) throw inlineOnly(this.projection.name, 'paused')
      return { isPaused: true }
    })
  }

  /** Goes on where it was paused, by hand or by a step that failed. */
  async resume(options: CallOptions = {}): Promise<void> {
    await this.#changeOwn(options, () => ({ isPaused: false, error: null }))
  }

  /** Builds this version once more, beside what there is of it; whoever runs it does the work. `truncated` if events are gone. */
  async rebuild(options: CallOptions = {}): Promise<void> {
    const { name, version, kind } = this.projection
    await refuseTruncated(this.port, name, options)
    await changeRegister(
      this.port,
      name,
      (register) => {
        const kept = buildsOf(register, version)
        if (kept.some(([, build]) => build.isInline))
          throw new UnderpinError(
            'unsupported',
            `Projection ${name} version ${version} is inline and cannot be rebuilt in place`,
            {
              hint: 'Declare the same step under a higher version: it is built beside and switched on.',
            },
          )
        // Tables have no second place: the runner clears them and begins again.
        const id = kind === 'tables' ? String(version) : freeId(register, version)
        const building = { ...register, builds: { ...register.builds, [id]: { version, ...newBuild } } }
        return { ...building, previous: register.previous === id ? null : register.previous }
      },
      kind === 'tables'
        ? { ...options, writes: [{ kind: 'delete', ...runKey(name, String(version)) }] }
        : options,
    )
  }

  /** Gives up what is being built of this version, and frees it. Not what is read. */
  async cancel(options: CallOptions = {}): Promise<void> {
    await this.#end(
      options,
      'cancelled',
      (register, id, { stage }) => stage === 'building' && register.active !== id,
    )
  }

  /** Frees a version that is not read. An inline one is no longer kept from then on. */
  async retire(options: CallOptions = {}): Promise<void> {
    await this.#end(options, 'retired', (register, id) => register.active !== id)
  }

  /** This version is read from now on. `invalid` unless it has caught up. */
  async swap(options: CallOptions = {}): Promise<void> {
    const { name, version } = this.projection
    await changeRegister(
      this.port,
      name,
      (register) => {
        const ready = buildsOf(register, version).filter(([, build]) => build.stage === 'ready')
        const [id] = ready.find(([id]) => id !== register.active) ?? ready[0] ?? []
        if (id !== undefined) return id === register.active ? undefined : withActive(register, id)
        throw new UnderpinError('invalid', `Version ${version} of projection ${name} has not caught up`, {
          hint: 'status() says how far it is, and why it waits.',
        })
      },
      options,
    )
  }

  /** What was read before is read again. It is as current as it was kept: run it, too. */
  async rollback(options: CallOptions = {}): Promise<void> {
    await changeRegister(
      this.port,
      this.projection.name,
      (register) => {
        const { previous, active } = register
        const build = previous === null ? undefined : register.builds[previous]
        if (previous === null || build === undefined || !isKept(build))
          throw new UnderpinError('invalid', `Projection ${register.name} has no version to go back to`)
        if (active !== null && register.builds[active]?.isInline && !build.isInline)
          throw new UnderpinError(
            'unsupported',
            `Projection ${register.name} is inline: version ${build.version} is not kept current any more`,
            {
              hint: 'Publish the older step under a higher version, or declare both versions inline.',
            },
          )
        return withActive(register, previous)
      },
      options,
    )
  }

  async #changeOwn(options: CallOptions, change: (build: Build) => Partial<Build>): Promise<void> {
    const { name, version } = this.projection
    await changeRegister(
      this.port,
      name,
      (register) => {
        const kept = buildsOf(register, version)
        if (kept.length === 0) throw unknownVersion(name, version)
        return kept.reduce((changed, [id, build]) => withBuild(changed, id, change(build)), register)
      },
      options,
    )
  }

  async #end(
    options: CallOptions,
    stage: 'retired' | 'cancelled',
    may: (register: Register, id: string, build: Build) => boolean,
  ): Promise<void> {
    const { name, version } = this.projection
    const register = await changeRegister(
      this.port,
      name,
      (found) => {
        const ending = Object.entries(found.builds).filter(
          ([id, build]) => build.version === version && (build.stage === stage || may(found, id, build)),
        )
        if (ending.length === 0)
          throw new UnderpinError(
            'invalid',
            `Nothing of version ${version} of projection ${name} can be ${stage}`,
            {
              hint: 'What is read cannot: swap another version in before.',
            },
          )
        let changed = found
        for (const [id] of ending) changed = withBuild(changed, id, { stage, isInline: false })
        const previous = ending.some(([id]) => id === found.previous) ? null : found.previous
        return { ...changed, previous }
      },
      options,
    )
    for (const [id, build] of Object.entries(register.builds))
      if (build.version === version && build.stage === stage) await this.#free(register, id, options)
  }

  /** Deletes the documents, unless somebody builds anew in their place meanwhile. */
  async #free(register: Register, id: string, options: CallOptions): Promise<void> {
    const checks = [registerCheck(register)]
    if (this.projection.kind === 'documents') {
      await ensureBuild(this.port, this.projection, id)
      const collection = collectionOf(register.name, id)
      if (!(await clearCollection(this.port, collection, { checks, signal: options.signal }))) return
    }
    const outcome = await this.port.commit(
      { at: this.port.clock.now(), writes: [{ kind: 'delete', ...runKey(register.name, id) }], checks },
      options,
    )
    if (outcome.kind === 'refused') throw outcome.error
  }

  async #isAt(position: Position, options: CallOptions | undefined): Promise<boolean> {
    const { name } = this.projection
    const register = await readRegister(this.port, name, options)
    const { active } = register
    if (active === null) return false
    if (isLive(register.builds[active] as Build)) return true
    const { documents } = await this.port.get([runKey(name, active)], options)
    const [record] = documents
    if (record?.kind !== 'document') return false
    const { position: built } = decodeValue(record.data) as Run
    if (built >= position) return true
    // What lies between may be no events at all, which the runner does not note.
    const page = await this.port.changes(built, 1_000, options)
    const hasEvent = page.items.some((change) => change.kind === 'event' && change.position <= position)
    return !hasEvent && page.next >= position
  }

  /** Until something moved in the domain, or so long. */
  async #hint(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const over = new AbortController()
    const cancel = this.port.clock.timer(ms, () => over.abort())
    const either = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
    try {
      let hints = 0
      // The first hint says where the head is; the second that it moved.
      for await (const _hint of this.port.watch(either)) if (++hints > 1) break
      // A store that was closed ends its hints at once: the next read says so.
    } finally {
      cancel()
    }
  }

  async #late(position: Position, timeoutMs: number): Promise<UnderpinError> {
    const status = await this.status()
    const behind = status.builds.find(({ state }) => state === 'active') ?? status.builds.at(-1)
    const why =
      behind === undefined
        ? 'nobody has run it yet'
        : `it is ${behind.state} at position ${behind.position}${behind.error === undefined ? '' : `: ${behind.error}`}`
    return new UnderpinError(
      'timeout',
      `Projection ${status.name} did not reach position ${position} in ${timeoutMs} ms: ${why}`,
      {
        hint: 'Does a process run it: domain.projection(…).run({ signal })?',
        details: { position },
      },
    )
  }
}

/** A projection into documents. */
export class Projected<S> extends ProjectedTables<Projection<S>> {
  /**
   * The document of a key, as of the version that is read, which is the one before while this one is being built.
   * `unavailable` while the first version is being built.
   */
  async get(key: string, options: CallOptions = {}): Promise<ProjectedDocument<S> | undefined> {
    const [found] = await this.getMany([key], options)
    return found
  }

  /** Several documents at one moment, in the order of the keys. */
  getMany(
    keys: readonly string[],
    options: CallOptions = {},
  ): Promise<readonly (ProjectedDocument<S> | undefined)[]> {
    return this.#reading(options, async (documents, version) => {
      const found = await documents.getMany(keys, options)
      return found.map((document) => document && { ...document, version })
    })
  }

  /** One page of the documents: by prefix of the key, or by an index of the projection. */
  list(options: ListOptions & CallOptions = {}): Promise<DocumentPage<S>> {
    return this.#reading(options, (documents) => documents.list(options))
  }

  /** All states by key from a replay of all events, in memory. */
  replay(options: ReplayOptions = {}): Promise<Map<string, S>> {
    return replay(this.port, this.projection, options)
  }

  /** The states kept current in memory: begins with what is stored of this version, and is caught up when this resolves. */
  async live(options: LiveProjectionOptions): Promise<Live<S>> {
    refuseEndless('live', options)
    return startLive(this.port, this.projection, options)
  }

  /**
   * Replays all events twice and compares with what is stored, byte for byte; names keys that differ, and steps that read
   * clocks or randomness, change their event, or fail. While it runs a page of steps, `Date`, `Math.random` and `crypto`
   * of this process are replaced.
   */
  verify(options: CallOptions = {}): Promise<ProjectionVerification> {
    return verifyProjection(this.port, this.projection as Projection, options)
  }

  /** Reads the build that is read, again if another one took its place meanwhile. */
  async #reading<R>(
    options: CallOptions,
    read: (documents: Documents<S>, version: number) => Promise<R>,
  ): Promise<R> {
    const { name } = this.projection
    await this.port.ensure(projectionCollections)
    for (let register = await readRegister(this.port, name, options); ; ) {
      const { active } = register
      const build = active === null ? undefined : register.builds[active]
      if (active === null || build === undefined) throw this.#notBuilt(register)
      const collection = collectionOf(name, active)
      await this.#know(collection)
      const result = await read(new Documents<S>(this.port, collection), build.version)
      const after = toRegister(name, (await this.port.get([registerKey(name)], options)).documents[0])
      if (after.active === active) return result
      register = after
    }
  }

  /** A build of another version is declared by whoever builds it: this process only has to hear of it. */
  async #know(collection: string): Promise<void> {
    await this.port.ensure({ [collection]: { fields: {}, indexes: {} } })
  }

  #notBuilt({ name, builds }: Register): UnderpinError {
    const isKnown = Object.keys(builds).length > 0
    return new UnderpinError(
      'unavailable',
      `Projection ${name} ${isKnown ? 'is being built' : 'was never run'}`,
      {
        hint: isKnown
          ? 'status() says how far it is.'
          : 'Run it: domain.projection(…).run({ signal }), or declare it inline.',
      },
    )
  }
}

function statusOf(register: Register, id: string, run: Run | undefined, head: Position): BuildStatus {
  const build = register.builds[id] as Build
  const isInline = isLive(build)
  const position = isInline ? head : (run?.position ?? 0)
  const rate = run?.rate ?? 0
  const lag = head - position
  return {
    build: id,
    version: build.version,
    state: stateOf(register, id, build),
    mode: build.isInline ? 'inline' : 'asynchronous',
    position,
    progress: head === 0 ? 1 : position / head,
    lag,
    rate,
    etaSeconds: lag === 0 ? 0 : rate > 0 ? lag / rate : undefined,
    error: build.error ?? undefined,
  }
}

function stateOf(register: Register, id: string, build: Build): BuildStatus['state'] {
  if (!isKept(build)) return build.stage
  if (build.isPaused) return 'paused'
  return register.active === id ? 'active' : build.stage
}

function versionOf(register: Register, id: string | null): number | undefined {
  return id === null ? undefined : register.builds[id]?.version
}

function unknownVersion(name: string, version: number): UnderpinError {
  return new UnderpinError('invalid', `Version ${version} of projection ${quote(name)} was never run here`)
}

function inlineOnly(name: string, what: string): UnderpinError {
  return new UnderpinError('unsupported', `Projection ${name} is inline and cannot be ${what}`, {
    hint: 'Its documents change with the events themselves. Swap in another version, then retire this one.',
  })
}

/** For callers without types, and for a signal that is given without its name. */
function refuseEndless(method: string, options: { readonly signal?: AbortSignal } | undefined): void {
  if (options?.signal !== undefined) return
  throw new TypeError(`A projection is told when to end: ${method}({ signal })`)
}
