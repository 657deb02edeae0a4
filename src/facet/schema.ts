/** Schemas of applications: anything that speaks Standard Schema 1 (Zod, Valibot, ArkType and others). */
import { UnderpinError } from '../error.ts'

/** The part of Standard Schema (https://standardschema.dev) that is used here. */
export interface Schema<Output> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined
  }
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string
        readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
      }[]
    }

/** The value as the schema returns it; `invalid` with every issue and its path. */
export async function parseWith<T>(schema: Schema<T> | undefined, value: unknown, what: string): Promise<T> {
  if (schema === undefined) return value as T
  return unwrap(await schema['~standard'].validate(value), what)
}

/** The same for synchronous code; a schema that needs to wait is refused with `unsupported`. */
export function parseWithSync<T>(schema: Schema<T> | undefined, value: unknown, what: string): T {
  if (schema === undefined) return value as T
  const result = schema['~standard'].validate(value)
  if (result instanceof Promise) {
    // The schema is refused, whatever becomes of its promise.
    void Promise.allSettled([result])
    throw new UnderpinError('unsupported', `${what} has a schema that validates asynchronously`, {
      hint: 'Use a schema that needs no promise. Only domain.documents(…) and jobs take one that does.',
    })
  }
  return unwrap(result, what)
}

function unwrap<T>(result: SchemaResult<T>, what: string): T {
  if (result.issues === undefined) return result.value
  const issues = result.issues.map(({ message, path = [] }) => ({
    message,
    path: path.map((part) => String(typeof part === 'object' ? part.key : part)).join('.'),
  }))
  const [first] = issues
  throw new UnderpinError(
    'invalid',
    `${what} does not fit its schema: ${first?.path ? `${first.path}: ` : ''}${first?.message ?? 'no reason given'}`,
    {
      details: { issues },
    },
  )
}
