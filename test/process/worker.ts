/** One of several processes on one file: does the tasks it is told, one message each, and answers with their result. */
import { isUnderpinError } from '../../src/error.ts'
import { type Task, tasks } from './tasks.ts'

export interface Call {
  readonly number: number
  readonly task: Task
  readonly args: unknown
}

export interface Answer {
  readonly number: number
  readonly result?: unknown
  readonly error?: {
    readonly code: string | undefined
    readonly message: string
    readonly hint: string | undefined
  }
}

async function answer({ number, task, args }: Call): Promise<Answer> {
  try {
    return { number, result: await tasks[task](args as never) }
  } catch (error) {
    const { message } = error as Error
    const { code, hint } = isUnderpinError(error) ? error : { code: undefined, hint: undefined }
    return { number, error: { code, message, hint } }
  }
}

process.on('message', async (call: Call) => {
  const reply = await answer(call)
  if (process.connected) process.send?.(reply)
})
process.send?.('ready')
