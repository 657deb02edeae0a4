/**
 * A Prisma client for raw statements. `prisma generate` needs the Prisma CLI (300 MB) and a download, so this is what
 * it wrote for a schema of one model (Prisma 7.10.0, generator prisma-client, postgresql), cut to what an interactive
 * transaction of raw statements needs. The runtime and the adapter are the real ones.
 */
import { Buffer } from 'node:buffer'
import * as runtime from '@prisma/client/runtime/client'

interface Raw {
  $queryRawUnsafe<T = unknown>(text: string, ...parameters: unknown[]): Promise<T>
  $executeRawUnsafe(text: string, ...parameters: unknown[]): Promise<number>
}

interface Client extends Raw {
  $transaction<T>(work: (tx: Raw) => Promise<T>): Promise<T>
  $connect(): Promise<void>
  $disconnect(): Promise<void>
}

// Its type is in TypeScript's library for browsers only.
const { Module } = (globalThis as unknown as { WebAssembly: { Module: new (bytes: Buffer) => object } })
  .WebAssembly

const config = {
  previewFeatures: [],
  clientVersion: '7.10.0',
  engineVersion: 'd1b3f377ca835d73fd50954a5e22128b9ebdd6b8',
  activeProvider: 'postgresql',
  inlineSchema:
    'generator client {\n  provider = "prisma-client"\n  output   = "../generated"\n}\n\ndatasource db {\n  provider = "postgresql"\n}\n\nmodel Own {\n  id Int @id\n}\n',
  runtimeDataModel: {
    models: { Own: { fields: [{ name: 'id', kind: 'scalar', type: 'Int' }], dbName: null, schema: null } },
    enums: {},
    types: {},
  },
  parameterizationSchema: {
    strings:
      'where Own.findUnique Own.findUniqueOrThrow orderBy cursor Own.findFirst Own.findFirstOrThrow Own.findMany data Own.createOne Own.createMany Own.createManyAndReturn Own.updateOne Own.updateMany Own.updateManyAndReturn create update Own.upsertOne Own.deleteOne Own.deleteMany having _count _avg _sum _min _max Own.groupBy Own.aggregate AND OR NOT id equals in notIn lt lte gt gte not set increment decrement multiply divide'.split(
        ' ',
      ),
    graph:
      'JgsQBBwAAB8AMB0AAAQAEB4AAB8AMB8CAAAAAQEAAAABACABAAAAAQAgBBwAAB8AMB0AAAQAEB4AAB8AMB8CACAAIQADAAAABAAgAwAABQAwBAAAAQAgAwAAAAQAIAMAAAUAMAQAAAEAIAMAAAAEACADAAAFADAEAAABACABHwIAAAABAQgAAAkAIAEfAgAAAAEBCAAACwAwAQgAAAsAMAEfAgAmACECAAAAAQAgCAAADgAgAR8CACYAIQIAAAAEACAIAAAQACACAAAABAAgCAAAEAAgAwAAAAEAIA8AAAkAIBAAAA4AIAEAAAABACABAAAABAAgBRUAACEAIBYAACIAIBcAACUAIBgAACQAIBkAACMAIAQcAAAaADAdAAAXABAeAAAaADAfAgAbACEDAAAABAAgAwAAFgAwFAAAFwAgAwAAAAQAIAMAAAUAMAQAAAEAIAQcAAAaADAdAAAXABAeAAAaADAfAgAbACENFQAAHQAgFgAAHgAgFwAAHQAgGAAAHQAgGQAAHQAgIAIAAAABIQIAAAAEIgIAAAAEIwIAAAABJAIAAAABJQIAAAABJgIAAAABJwIAHAAhDRUAAB0AIBYAAB4AIBcAAB0AIBgAAB0AIBkAAB0AICACAAAAASECAAAABCICAAAABCMCAAAAASQCAAAAASUCAAAAASYCAAAAAScCABwAIQggAgAAAAEhAgAAAAQiAgAAAAQjAgAAAAEkAgAAAAElAgAAAAEmAgAAAAEnAgAdACEIIAgAAAABIQgAAAAEIggAAAAEIwgAAAABJAgAAAABJQgAAAABJggAAAABJwgAHgAhBBwAAB8AMB0AAAQAEB4AAB8AMB8CACAAIQggAgAAAAEhAgAAAAQiAgAAAAQjAgAAAAEkAgAAAAElAgAAAAEmAgAAAAEnAgAdACEAAAAAAAUoAgAAAAEpAgAAAAEqAgAAAAErAgAAAAEsAgAAAAEAAAAABRUABhYABxcACBgACRkACgAAAAAABRUABhYABxcACBgACRkACgECAQIDAQUGAQYHAQcIAQkKAQoMAgsNAwwPAQ0RAg4SBBETARIUARMVAhoYBRsZCw',
  },
  compilerWasm: {
    getRuntime: () => import('@prisma/client/runtime/query_compiler_fast_bg.postgresql.mjs'),
    async getQueryCompilerWasmModule() {
      const { wasm } = await import(
        '@prisma/client/runtime/query_compiler_fast_bg.postgresql.wasm-base64.mjs'
      )
      return new Module(Buffer.from(wasm, 'base64'))
    },
    importName: './query_compiler_fast_bg.js',
  },
}

export const PrismaClient = runtime.getPrismaClient(config as never) as unknown as new (options: {
  adapter: object
}) => Client
