/** Applications at work: processes of their own, or, where one end is in memory, stores within this one. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Backend } from '../../../src/index.ts'
import { compiled } from '../../subscription/compiled.ts'
import { type Told, toldIn } from './told.ts'
import { type AppStore, openApp, type Who, work } from './work.ts'
import type { WorkerJob } from './worker.ts'

export interface Crew {
  /** Takes on one more. */
  hire(): Promise<void>
  /**
   * Writers begin nothing any more; subscribers and jobs go on. Settles when what writers had under way has been answered:
   * what comes later would be handled by nobody.
   */
  end(): Promise<void>
  /** Ends all of them, and says what all of them were told. */
  over(): Promise<readonly Told[]>
  /** Behind everything: what a store closes may be shared. */
  close(): Promise<void>
}

/** Processes, some of which may be killed. */
export interface MortalCrew extends Crew {
  /** Kills one of them with SIGKILL, at random, and says how many are left. */
  kill(random: () => number): Promise<number>
}

export function processes(target: Readonly<Record<string, string>>, who: Omit<Who, 'number'>): MortalCrew {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-told-'))
  const children: ChildProcess[] = []
  let hired = 0
  return {
    async hire() {
      const number = ++hired
      const job: WorkerJob = { target, who: { ...who, number }, ledger: join(folder, `${number}.jsonl`) }
      const child = fork(compiled('test/move/proof/worker.ts'), [JSON.stringify(job)], { execArgv: [] })
      await once(child, 'message')
      children.push(child)
    },
    async kill(random) {
      const [victim] = children.splice(Math.floor(children.length * random()), 1)
      if (victim === undefined) return 0
      const ended = once(victim, 'exit')
      victim.kill('SIGKILL')
      const [code, signal] = await ended
      if (signal !== 'SIGKILL') throw new Error(`A process had ended by itself (${code ?? signal})`)
      return children.length
    },
    async end() {
      const endings = children.map(async (child) => {
        const ended = Promise.race([once(child, 'message'), once(child, 'exit')])
        child.send('end')
        await ended
      })
      await Promise.all(endings)
    },
    async over() {
      const endings = children.map(async (child) => {
        const ended = once(child, 'exit')
        child.send('over')
        const [code, signal] = await ended
        if (code !== 0) throw new Error(`A process had ended by itself (${code ?? signal})`)
      })
      await Promise.all(endings)
      const told = toldIn(folder)
      return told
    },
    async close() {
      for (const child of children) child.kill('SIGKILL')
      rmSync(folder, { recursive: true })
    },
  }
}

/** Stores of their own in this process, over memory that they share and what a URL opens. */
export function views(target: Readonly<Record<string, string | Backend>>, who: Omit<Who, 'number'>): Crew {
  const told: Told[] = []
  const stores: AppStore[] = []
  const [ending, over] = [new AbortController(), new AbortController()]
  const working: Promise<void>[] = []
  const writing: Promise<void>[] = []
  return {
    async hire() {
      const store = await openApp(target, 2 * who.patienceMs)
      stores.push(store)
      const number = working.length + 1
      const isEnded = new Promise<void>((onEnded) => {
        const ends = { ending: ending.signal, onEnded, over: over.signal }
        working.push(work(store, { ...who, number }, (entry) => told.push(entry), ends))
      })
      writing.push(isEnded)
    },
    async end() {
      ending.abort()
      await Promise.all(writing)
    },
    async over() {
      over.abort()
      const late = new AbortController()
      const isOver = await Promise.race([
        Promise.all(working).then(() => true),
        pause(3 * who.patienceMs, false, { signal: late.signal }).catch(() => false),
      ])
      late.abort()
      if (!isOver) told.push({ kind: 'failed', what: 'work', code: 'none', message: 'Never came to its end' })
      return told
    },
    async close() {
      over.abort()
      await Promise.all(stores.map((store) => store.close()))
    },
  }
}
