/** Where the desk keeps its data and where it listens: from the environment, or as flags of the command line say. */
import { resolve } from 'node:path'
import { Refusal } from './refusal.ts'

export interface Config {
  readonly dataDir: string
  readonly port: number
  /** Milliseconds without a sign of life after which the turns of a process count as interrupted. */
  readonly leaseMs: number
}

export interface ConfigFlags {
  readonly dataDir?: string
  readonly port?: string
}

export function readConfig(flags: ConfigFlags = {}, env: NodeJS.ProcessEnv = process.env): Config {
  return {
    dataDir: resolve(flags.dataDir ?? env.DESK_DATA_DIR ?? './data'),
    port: wholeNumber('The port', flags.port ?? env.DESK_PORT ?? '4280', 0, 65_535),
    leaseMs: wholeNumber('DESK_LEASE_MS', env.DESK_LEASE_MS ?? '5000', 100, 600_000),
  }
}

function wholeNumber(what: string, text: string, min: number, max: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= min && value <= max && text.trim() !== '') return value
  throw new Refusal(
    'invalid',
    `${what} must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`,
  )
}
