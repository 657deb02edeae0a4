/** Idempotent request handlers over the web's Request and Response, and for Hono, Express and Fastify. */
export { expressIdempotent, fastifyIdempotent, honoIdempotent } from './adapter.ts'
export { type Handler, type IdempotentOptions, idempotent } from './idempotent.ts'
export { parseIdempotencyKey } from './key.ts'
