/** Who waits for whom: commands on one thing are decided one behind the other, those on different things side by side. */
import type { Command } from './command.ts'
import { projectsStream, settingsStream, threadStream } from './event.ts'
import type { DeskState } from './state.ts'

export class Lanes {
  readonly #tails = new Map<string, Promise<unknown>>()

  /** Runs `work` when all that entered the lane before has settled. */
  enter<T>(lane: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(lane) ?? Promise.resolve()
    const result = before.then(work)
    const tail = Promise.allSettled([result]).then(() => {
      if (this.#tails.get(lane) === tail) this.#tails.delete(lane)
    })
    this.#tails.set(lane, tail)
    return result
  }
}

/** The lane of a command: the stream that it will write to. What names nothing that is known will be refused in any. */
export function laneOf(state: DeskState, command: Command): string {
  const threadId = threadOf(state, command)
  if (threadId !== undefined) return threadStream(threadId)
  return command.type.startsWith('project') ? projectsStream : settingsStream
}

function threadOf({ turns, messages, checkpoints }: DeskState, command: Command): string | undefined {
  if ('threadId' in command) return command.threadId
  if ('turnId' in command) return turns.get(command.turnId)?.threadId
  if (command.type === 'message.append')
    return turns.get(messages.get(command.messageId)?.turnId ?? '')?.threadId
  return command.type === 'checkpoint.mark' ? checkpoints.get(command.ref)?.threadId : undefined
}
