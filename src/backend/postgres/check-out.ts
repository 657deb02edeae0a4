/**
 * Taking a session out of a pool. When its connection dies it says so on its own too, even in the packet that opens it,
 * and an error that nobody listens to ends the process: so the listener is there before the pool's own one is gone.
 */
import type { PgClient, PgPool } from './driver.ts'

export function checkOut(pool: PgPool): Promise<PgClient> {
  return new Promise((resolve, reject) => {
    pool.connect((error, client) => {
      if (client === undefined) return reject(error)
      client.on('error', ignore)
      resolve(client)
    })
  })
}

/** Gives a session back, for others to use or, if it is broken, to be ended. */
export function giveBack(client: PgClient, isBroken = false): void {
  client.release(isBroken)
  client.off('error', ignore)
}

const ignore = () => {}
