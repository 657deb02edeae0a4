/** What a URL and the options say of a PostgreSQL store. */
import { UnderpinError } from '../../error.ts'
import type { PostgresOptions } from './postgres.ts'

/** `schema`, `prepare` and `notify` may stand in the URL; the driver is not told of them. */
export function parseTarget(target: unknown, options: PostgresOptions) {
  if (typeof target !== 'string')
    return {
      url: undefined,
      schema: checkSchema(options.schema ?? 'underpin'),
      isPrepared: options.prepare ?? true,
      mayNotify: options.notify ?? options.prepare ?? true,
    }
  const url = new URL(target)
  const schema = url.searchParams.get('schema') ?? options.schema ?? 'underpin'
  const isPrepared = readSwitch(url, 'prepare') ?? options.prepare ?? true
  const mayNotify = readSwitch(url, 'notify') ?? options.notify ?? isPrepared
  for (const name of ['schema', 'prepare', 'notify']) url.searchParams.delete(name)
  return { url: url.href, schema: checkSchema(schema), isPrepared, mayNotify }
}

/** `true` or `false`, as it stands in the URL. */
function readSwitch(url: URL, name: string): boolean | undefined {
  const value = url.searchParams.get(name)
  if (value === null || value === 'true' || value === 'false')
    return value === null ? undefined : value === 'true'
  throw new UnderpinError('invalid', `${name} in the URL must be true or false, not ${JSON.stringify(value)}`)
}

function checkSchema(schema: string): string {
  const bytes = Buffer.byteLength(schema)
  if (bytes > 0 && bytes <= 63 && !schema.includes('\0')) return schema
  throw new UnderpinError('invalid', `The schema name has ${bytes} bytes; PostgreSQL takes 1 to 63`)
}
