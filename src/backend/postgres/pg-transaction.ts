/** A transaction on a session of pg: begun with its first statements in one round trip, ended with its last in another. */
import { UnderpinError } from '../../error.ts'
import { type CopyConnection, CopyIn } from './copy.ts'
import type { Copy, How, Parameter, PgClient, Query, Row, Session } from './driver.ts'

/**
 * A process that stops between two statements would hold its locks for ever: the server ends it after ten seconds. Who
 * waits for a lock lets go after two, says that nothing was written, and tries again while there is time.
 */
const begin = [
  'BEGIN',
  'SET LOCAL idle_in_transaction_session_timeout = 10000',
  'SET LOCAL lock_timeout = 2000',
]

/** Milliseconds: a session that gives no answer for so long has lost its connection without being told. */
const rollbackMs = 5_000
const answerMs = 15_000

/** Makes the driver's configuration of a statement. */
export type ConfigOf = (text: string, parameters?: readonly Parameter[], how?: How) => object

export class PgTransaction {
  readonly #client: PgClient
  readonly #configOf: ConfigOf
  #isOver = false

  constructor(client: PgClient, configOf: ConfigOf) {
    this.#client = client
    this.#configOf = configOf
  }

  /** Whether the session is outside of a transaction again, and may be used by others. */
  get isOver(): boolean {
    return this.#isOver
  }

  async run<T>(
    work: (query: Query, session: Session) => Promise<T>,
    first: readonly string[],
    types: object,
  ): Promise<T> {
    try {
      const text = [...begin, ...first].join('; ')
      const begun = await this.#client.query({ text, rowMode: 'array', types, query_timeout: answerMs })
      // One result for each statement.
      const results = (begun as unknown as { rows: Row[] }[]).slice(begin.length)
      const result = await work(this.#query, {
        first: results.map(({ rows }) => rows),
        last: this.#last,
        copy: copyOf(this.#client),
        client: this.#client,
      })
      if (!this.#isOver) await this.#end('COMMIT')
      return result
    } catch (error) {
      if (!this.#isOver) await this.#end('ROLLBACK')
      throw error
    }
  }

  readonly #query: Query = async (text, parameters, how) =>
    (await this.#client.query(this.#configOf(text, parameters, how))).rows

  /** The last statement and COMMIT, the second sent without waiting for the first; after an error it undoes all. */
  readonly #last: Query = async (text, parameters) => {
    const client = this.#client
    if (client.pipeline !== false) return this.#query(text, parameters)
    client.pipeline = true
    const [written, ended] = await Promise.allSettled([this.#query(text, parameters), this.#end('COMMIT')])
    client.pipeline = false
    if (written.status === 'rejected') throw written.reason
    if (ended.status === 'rejected') throw ended.reason
    return written.value
  }

  /** PostgreSQL answers the COMMIT of a transaction in which a statement failed with ROLLBACK, and no error. */
  async #end(text: 'COMMIT' | 'ROLLBACK'): Promise<void> {
    const query_timeout = text === 'COMMIT' ? answerMs : rollbackMs
    const { command = text } = await this.#client.query({ text, query_timeout })
    this.#isOver = true
    if (command !== text)
      throw new UnderpinError('invalid', 'A statement of the transaction had failed; nothing was written', {
        hint: 'Await every statement of a table handler, and let its errors out.',
      })
  }
}

function copyOf(client: PgClient): Copy | undefined {
  const connection: Partial<CopyConnection> | undefined = client.connection
  if (typeof connection?.sendCopyFromChunk !== 'function' || client.pipeline === true) return undefined
  return (rows) =>
    new Promise((resolve, reject) => {
      const done = (error: unknown) => (error === undefined ? resolve() : reject(error))
      void client.query(new CopyIn(rows, done))
    })
}
