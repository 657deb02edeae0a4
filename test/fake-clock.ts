/** The shipped clock that a test owns, and what tests here watch promises with. */
export { FakeClock, idle } from '../src/testing/fake-clock.ts'

/** What became of a promise so far: its value, the code of its error, or `pending`. */
export function watchOutcome(promise: Promise<unknown>): { readonly state: unknown } {
  const watched: { state: unknown } = { state: 'pending' }
  promise.then(
    (value) => (watched.state = { value }),
    (error: { code?: string }) => (watched.state = error.code ?? error),
  )
  return watched
}
