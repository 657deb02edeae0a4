/** What requests and responses look like: validated by these, and described by them in the OpenAPI document. */
import { z } from 'zod'
import { amountSchema, positiveAmountSchema } from '../lib/money.ts'
import { statuses } from '../lib/stream.ts'

const wallet = z.string().regex(/^[\x21-\x7e]{1,100}$/, 'must be 1 to 100 printable ASCII characters')
const time = z.int().min(0).describe('Milliseconds since 1970')

export const activityTypes = [
  ...['stream.created', 'stream.started', 'stream.paused', 'stream.stopped'],
  ...['stream.settled', 'stream.withdrawn', 'stream.cancelled'],
] as const

export const termsSchema = z
  .strictObject({
    sender: wallet,
    recipient: wallet,
    currency: z.string().regex(/^[A-Z]{3}$/, 'must be an ISO 4217 code such as EUR'),
    deposit: positiveAmountSchema.describe('Minor units'),
    ratePerHour: positiveAmountSchema.describe('Minor units an hour'),
  })
  .meta({ id: 'Terms' })

export const withdrawalSchema = z
  .strictObject({ amount: positiveAmountSchema.optional().describe('All that there is, if left out') })
  .meta({ id: 'Withdrawal' })

export const streamSchema = z
  .object({
    ...{ id: z.string(), status: z.enum(statuses), version: z.int().min(1) },
    ...termsSchema.shape,
    ...{ createdAt: time, updatedAt: time, runningSince: time.nullable(), activeMs: z.int().min(0) },
    ...{ settled: amountSchema, withdrawn: amountSchema, refunded: amountSchema },
  })
  .meta({ id: 'Stream' })

export const balanceSchema = z
  .object({
    at: time,
    accrued: amountSchema.describe('Earned by now'),
    settled: amountSchema,
    withdrawn: amountSchema,
    available: amountSchema.describe('What a withdrawal would pay now'),
    refunded: amountSchema,
  })
  .meta({ id: 'Balance' })

export const activitySchema = z
  .object({
    ...{ id: z.string(), stream: z.string(), type: z.enum(activityTypes), at: time },
    ...{ amount: amountSchema, version: z.int().min(1) },
  })
  .meta({ id: 'Activity' })

export const userSchema = z.object({ wallet, createdAt: time }).meta({ id: 'User' })

export const exportRequestSchema = z
  .strictObject({ kind: z.enum(['streams', 'activity']), format: z.enum(['csv', 'ndjson']) })
  .meta({ id: 'ExportRequest' })

export const exportSchema = z
  .object({
    id: z.string(),
    kind: z.string(),
    format: z.string(),
    state: z.enum(['requested', 'running', 'ready', 'expired', 'failed', 'cancelled']),
    ...{ requestedAt: time, finishedAt: time.optional(), expiresAt: time.optional() },
    ...{ rows: z.int(), bytes: z.int(), downloads: z.int(), error: z.string().optional() },
    link: z.string().optional().describe('Signed, good for 15 minutes; only of an export that is ready'),
  })
  .meta({ id: 'Export' })

export const auditSchema = z
  .object({ seq: z.int(), type: z.string(), at: time, export: z.string() })
  .meta({ id: 'Audit' })

export const problemSchema = z
  .object({ type: z.string(), title: z.string(), status: z.int(), detail: z.string().optional() })
  .meta({ id: 'Problem' })

const limit = z.coerce.number().int().min(1).max(200).optional()
const cursor = z.string().min(1).max(1_000).optional()

export const streamListSchema = z.strictObject({ status: z.enum(statuses).optional(), cursor, limit })
export const pageSchema = z.strictObject({ cursor, limit })
export const activityListSchema = z.strictObject({ type: z.enum(activityTypes).optional(), cursor, limit })
