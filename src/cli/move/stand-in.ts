/** What stands for a store that cannot be opened, so that what is known of a move can be told without it. */
import { type Backend, openBackend, UnderpinError } from '../../index.ts'

/**
 * A store that is not there yet: empty, with the name and the limits of what will be there. Neither a file nor a schema
 * is made; what was written into it would be gone with this process.
 */
export async function absent(url: string): Promise<Backend> {
  return standIn(url, await openBackend('memory:'), (value) => value)
}

/**
 * A store that is out of reach: whatever is asked of it fails as its opening did, and at once, with a code that is not
 * tried again: it was waited for when it was opened.
 */
export async function silent(url: string, cause: unknown): Promise<Backend> {
  const { message, hint } = cause as UnderpinError
  const refuse = () =>
    Promise.reject(new UnderpinError('timeout', message, { ...(hint !== undefined && { hint }), cause }))
  return standIn(url, await openBackend('memory:'), (value, key) =>
    key === 'open' || key === 'close' ? value : refuse,
  )
}

type Method = (...args: never[]) => unknown

async function standIn(
  url: string,
  memory: Backend,
  methodOf: (method: Method, key: string | symbol) => Method,
): Promise<Backend> {
  const { name, supports } = await openBackend(url)
  return new Proxy(memory, {
    get(_, key) {
      if (key === 'name') return name
      if (key === 'supports') return supports
      // What is silent must not be asked on another way.
      if (key === 'sync') return undefined
      const value: unknown = Reflect.get(memory, key, memory)
      return typeof value === 'function' ? methodOf(value.bind(memory), key) : value
    },
  })
}
