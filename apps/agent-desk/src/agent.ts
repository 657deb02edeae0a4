/**
 * The simulated agent: it stands for a model, and streams words that its seed determines. So a turn that is resumed, by
 * whichever process, goes on with what it would have said.
 */
import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Agent, ChangedFile } from './event.ts'

export type SimulatedAgent = Extract<Agent, { kind: 'simulated' }>

const words =
  'I read the file and changed the test so that it fails first then mended the parser and ran everything again it passes now'.split(
    ' ',
  )
const files = ['src/main.ts', 'src/parse.ts', 'test/parse.test.ts', 'README.md'] as const

/** The delta with an index: always the same one. */
export function deltaOf({ seed }: SimulatedAgent, index: number): string {
  return `${words[draw(seed, index) % words.length]} `
}

/** The deltas from an index on, as the agent says them. Ends with what the signal was aborted with. */
export async function* deltasFrom(
  agent: SimulatedAgent,
  from: number,
  signal: AbortSignal,
): AsyncGenerator<string> {
  for (let index = from; index < agent.deltas; index++) {
    if (agent.delayMs > 0) await pause(agent.delayMs, undefined, { signal })
    signal.throwIfAborted()
    yield deltaOf(agent, index)
  }
}

/** The whole text. */
export function textOf(agent: SimulatedAgent): string {
  return Array.from({ length: agent.deltas }, (_, index) => deltaOf(agent, index)).join('')
}

/** The files that the agent says it changed. */
export function filesOf({ seed }: SimulatedAgent): ChangedFile[] {
  return files
    .filter((_, i) => draw(seed, -1 - i) % 2 === 0)
    .map((path, i) => ({
      path,
      kind: 'modified',
      additions: draw(seed, i) % 40,
      deletions: draw(seed, i) % 7,
    }))
}

function draw(seed: string, index: number): number {
  return createHash('sha256').update(`${seed}\0${index}`).digest().readUInt32BE()
}
