/** What a request says, parsed once at the edge; {@link BadRequest} for what it must not say. */
import type { Context } from 'hono'
import type { z } from 'zod'
import { BadRequest } from './problem.ts'

export async function bodyOf<S extends z.ZodType>(request: Request, schema: S): Promise<z.output<S>> {
  const text = await request.text()
  let value: unknown
  try {
    value = text === '' ? {} : JSON.parse(text)
  } catch (error) {
    throw new BadRequest({ status: 400, title: 'The body is no JSON', detail: (error as Error).message })
  }
  return parse(schema, value, 'body')
}

export function queryOf<S extends z.ZodType>(context: Context, schema: S): z.output<S> {
  return parse(schema, context.req.query(), 'query')
}

/** The tenant, as whatever stands in front of streampay has authenticated it. */
export function tenantOf(request: Request): string | undefined {
  return request.headers.get('x-tenant') ?? undefined
}

export function requiredTenantOf(request: Request): string {
  const tenant = tenantOf(request)
  if (tenant !== undefined && tenant !== '') return tenant
  throw new BadRequest({ status: 400, title: 'X-Tenant is missing', detail: 'Name the wallet it is about.' })
}

/** The versions that If-Match names; undefined if it asks for nothing but that the stream is there. */
export function versionsOf(request: Request): readonly number[] | undefined {
  const field = request.headers.get('if-match')
  if (field === null || field.trim() === '*') return undefined
  return field.split(',').map((tag) => {
    const [, version] = /^\s*"(\d{1,15})"\s*$/.exec(tag) ?? []
    // A weak tag, or one that was never given, matches nothing.
    return version === undefined ? 0 : Number(version)
  })
}

export function etagOf({ version }: { readonly version: number }): string {
  return `"${version}"`
}

function parse<S extends z.ZodType>(schema: S, value: unknown, where: string): z.output<S> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const detail = parsed.error.issues
    .map(({ path, message }) => `${[where, ...path].join('.')}: ${message}`)
    .join('; ')
  throw new BadRequest({ status: 400, title: 'The request is malformed', detail })
}
