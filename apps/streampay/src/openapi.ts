/** The OpenAPI 3.1 document, made from the schemas that requests are validated by. */
import { z } from 'zod'
import {
  activityListSchema,
  activitySchema,
  auditSchema,
  balanceSchema,
  exportRequestSchema,
  exportSchema,
  pageSchema,
  problemSchema,
  streamListSchema,
  streamSchema,
  termsSchema,
  userSchema,
  withdrawalSchema,
} from './schema.ts'

const named = {
  ...{ Terms: termsSchema, Withdrawal: withdrawalSchema, Stream: streamSchema, Balance: balanceSchema },
  ...{ Activity: activitySchema, User: userSchema, ExportRequest: exportRequestSchema, Export: exportSchema },
  ...{ Audit: auditSchema, Problem: problemSchema },
}
type Named = keyof typeof named

const ref = (name: Named) => ({ $ref: `#/components/schemas/${name}` })
const header = (name: string) => ({ $ref: `#/components/headers/${name}` })
const parameter = (name: string) => ({ $ref: `#/components/parameters/${name}` })
const json = (schema: object) => ({ content: { 'application/json': { schema } } })
const problem = { content: { 'application/problem+json': { schema: ref('Problem') } } }

const pageOf = (name: Named) => ({
  type: 'object',
  required: ['items'],
  properties: {
    items: { type: 'array', items: ref(name) },
    cursor: { type: 'string', description: 'Goes on behind this page; absent at the end' },
  },
})

/** The query parameters of a strict object of optional fields. */
function queryOf(schema: z.ZodType): object[] {
  const { properties = {} } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as {
    properties?: Readonly<Record<string, object>>
  }
  return Object.entries(properties).map(([name, described]) => ({ name, in: 'query', schema: described }))
}

const streamHeaders = { ETag: header('ETag'), 'Idempotency-Replayed': header('Idempotency-Replayed') }
const refusals = {
  400: { description: 'The request, or its Idempotency-Key, is malformed', ...problem },
  409: { description: 'The stream does not take it as it is, or the same request is under way', ...problem },
  422: { description: 'Not that much is there, or the key was used for another request', ...problem },
  503: { description: 'Send it again in a moment, with the same key', ...problem },
}
const missing = { 404: { description: 'There is none', ...problem } }
const changed = { 412: { description: 'If-Match names another version', ...problem } }

const read = (summary: string, schema: object, parameters: readonly object[] = [], more: object = {}) => ({
  get: { summary, parameters, responses: { 200: { description: 'It', ...json(schema) }, ...more } },
})

/** A POST that changes a stream. */
const command = (summary: string, body?: Named) => ({
  post: {
    summary,
    parameters: [parameter('id'), parameter('Idempotency-Key'), parameter('If-Match'), parameter('X-Tenant')],
    ...(body === undefined ? {} : { requestBody: json(ref(body)) }),
    responses: {
      200: { description: 'The stream as it is now', headers: streamHeaders, ...json(ref('Stream')) },
      ...refusals,
      ...missing,
      ...changed,
    },
  },
})

const tenantParameters = [{ ...parameter('X-Tenant') }]

export const openapi = {
  openapi: '3.1.0',
  info: {
    title: 'streampay',
    version: '1.0.0',
    description:
      'Payment streams: a recipient earns so much an hour of a deposit, settles and withdraws. Amounts are integers in minor units. Every POST needs an Idempotency-Key and can be sent again with it: it takes effect once, and the answer is the same.',
  },
  paths: {
    '/streams': {
      ...read('List streams, the oldest first', pageOf('Stream'), queryOf(streamListSchema), {
        400: refusals[400],
      }),
      post: {
        summary: 'Create a stream, as a draft',
        parameters: [parameter('Idempotency-Key'), parameter('X-Tenant')],
        requestBody: json(ref('Terms')),
        responses: {
          201: { description: 'The stream', headers: streamHeaders, ...json(ref('Stream')) },
          ...refusals,
        },
      },
    },
    '/streams/{id}': {
      get: {
        summary: 'A stream',
        parameters: [parameter('id'), { name: 'If-None-Match', in: 'header', schema: { type: 'string' } }],
        responses: {
          200: { description: 'The stream', headers: { ETag: header('ETag') }, ...json(ref('Stream')) },
          304: { description: 'It is as known' },
          ...missing,
        },
      },
    },
    '/streams/{id}/balance': read('What it has earned by now', ref('Balance'), [parameter('id')], missing),
    '/streams/{id}/activity': read(
      'What happened to it, the oldest first',
      pageOf('Activity'),
      [parameter('id'), ...queryOf(pageSchema)],
      missing,
    ),
    '/streams/{id}/start': command('Start it, or go on with it when it was paused'),
    '/streams/{id}/pause': command('Pause it: nothing is earned meanwhile'),
    '/streams/{id}/stop': command('Stop it for good; what was not earned goes back to the sender'),
    '/streams/{id}/settle': command('Settle what was earned until now'),
    '/streams/{id}/withdraw': command('Settle, and pay out to the recipient', 'Withdrawal'),
    '/streams/{id}/cancel': command('Call it off: settle what was earned, give back the rest'),
    '/activity': read(
      'What happened to all streams, or of one type',
      pageOf('Activity'),
      queryOf(activityListSchema),
      {
        400: refusals[400],
      },
    ),
    '/users/{wallet}': read(
      'A user',
      ref('User'),
      [{ name: 'wallet', in: 'path', required: true, schema: { type: 'string' } }],
      missing,
    ),
    '/exports': {
      ...read('The exports of a tenant, the newest first', pageOf('Export'), tenantParameters),
      post: {
        summary: 'Ask for an export of the streams, or the activity, of a sender',
        parameters: [parameter('Idempotency-Key'), ...tenantParameters],
        requestBody: json(ref('ExportRequest')),
        responses: { 202: { description: 'It is being made', ...json(ref('Export')) }, ...refusals },
      },
    },
    '/exports/{id}': read(
      'An export; with a link when it is ready',
      ref('Export'),
      [parameter('id'), ...tenantParameters],
      missing,
    ),
    '/exports/audit': read('What happened to the exports of a tenant', pageOf('Audit'), tenantParameters),
    '/exports/download': {
      get: {
        summary: 'The file that a signed link leads to',
        responses: {
          200: { description: 'The file, as an attachment' },
          403: { description: 'The link was not signed so' },
          404: { description: 'There is no such export' },
          410: { description: 'The link, or the export, has expired' },
        },
      },
    },
    '/health': read('Who holds the data, and where a move of it stands', { type: 'object' }, [], {
      503: { description: 'No store accepts changes now' },
    }),
  },
  components: {
    schemas: Object.fromEntries(
      Object.entries(named).map(([name, schema]) => {
        const { $schema: _schema, id: _id, ...described } = z.toJSONSchema(schema, { io: 'input' })
        return [name, described]
      }),
    ),
    headers: {
      ETag: { description: 'The version, for If-Match', schema: { type: 'string' } },
      'Idempotency-Replayed': {
        description: '`true` if this was answered before',
        schema: { type: 'string' },
      },
    },
    parameters: {
      id: { name: 'id', in: 'path', required: true, schema: { type: 'string' } },
      'Idempotency-Key': {
        name: 'Idempotency-Key',
        in: 'header',
        required: true,
        description: 'One string of 1 to 255 characters, new for each request that is meant anew',
        schema: { type: 'string' },
      },
      'If-Match': {
        name: 'If-Match',
        in: 'header',
        description: 'The ETag that the stream must have',
        schema: { type: 'string' },
      },
      'X-Tenant': {
        name: 'X-Tenant',
        in: 'header',
        description: 'The wallet it is about, as whatever stands in front has authenticated it',
        schema: { type: 'string' },
      },
    },
  },
}
