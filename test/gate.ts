/** What one part of a test waits for until another opens it. */

/** A promise and what settles it. */
export function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

interface Lockable {
  withLock<R>(key: string, work: () => Promise<R>): Promise<R>
}

/** Has a lock from now on, until it is opened. */
export async function hold(domain: Lockable, key: string) {
  const [entered, { open, opened }] = [gate(), gate()]
  const holding = domain.withLock(key, () => {
    entered.open()
    return opened
  })
  await entered.opened
  return { holding, open }
}
