/** The cases on SQLite. */
import { type Case, rate } from '../case.ts'

const group = 'better-sqlite3, group commit by hand'
const single = 'better-sqlite3, autocommit'
const shared = 'Emmett SQLite, one connection'
const asItComes = 'Emmett SQLite, as it comes'

/** All cases; quick ones store a quarter. */
export function sqliteCases(isQuick: boolean): readonly Case[] {
  const scale = isQuick ? 0.25 : 1
  return [
    ...appends(scale),
    ...reads(scale),
    ...states(scale),
    ...documents(scale),
    ...projections(scale),
    ...locks(scale),
  ]
}

function appends(scale: number): Case[] {
  const many = { kind: 'append', streams: 1_000 } as const
  const hot = { kind: 'append', streams: 1 } as const
  return [
    {
      id: 'append-64',
      title: 'append, 64 callers, 1,000 streams',
      unit: 'events/s',
      work: { ...many, callers: 64, count: 100_000 * scale },
      peers: ['underpin', group, shared, asItComes, 'lmdb'],
      goals: [rate(shared, 10), rate(group, 0.65)],
    },
    {
      id: 'append-64-hot',
      title: 'append, 64 callers, one stream',
      unit: 'events/s',
      work: { ...hot, callers: 64, count: 100_000 * scale },
      peers: ['underpin', group, shared, asItComes],
      goals: [rate('underpin', 0.8, 'append-64')],
    },
    {
      id: 'append-1',
      title: 'append, one caller, 1,000 streams',
      unit: 'events/s',
      work: { ...many, callers: 1, count: 20_000 * scale },
      peers: ['underpin', single, shared, asItComes, 'lmdb'],
      goals: [rate(single, 0.8)],
    },
    {
      id: 'append-1-hot',
      title: 'append, one caller, one stream',
      unit: 'events/s',
      work: { ...hot, callers: 1, count: 20_000 * scale },
      peers: ['underpin', single, shared],
      goals: [],
    },
    {
      id: 'append-1024',
      title: 'append, 1,024 callers, 1,000 streams',
      unit: 'events/s',
      work: { ...many, callers: 1_024, count: 200_000 * scale },
      peers: ['underpin', group, shared, 'lmdb'],
      goals: [],
    },
    {
      id: 'append-1024-hot',
      title: 'append, 1,024 callers, one stream',
      unit: 'events/s',
      work: { ...hot, callers: 1_024, count: 200_000 * scale },
      peers: ['underpin', group],
      goals: [],
    },
    {
      id: 'append-memory',
      title: 'append in memory, 64 callers, 1,000 streams',
      unit: 'events/s',
      work: { ...many, callers: 64, count: 500_000 * scale },
      peers: ['underpin, memory', 'Emmett, memory'],
      goals: [rate('Emmett, memory', 3)],
    },
    {
      id: 'append-memory-hot',
      title: 'append in memory, 64 callers, one stream',
      unit: 'events/s',
      work: { ...hot, callers: 64, count: 100_000 * scale },
      peers: ['underpin, memory', 'Emmett, memory'],
      goals: [],
    },
  ]
}

function reads(scale: number): Case[] {
  return [
    {
      id: 'read-stream',
      title: 'read streams of 1,000 events, decoded, checksums verified',
      unit: 'events/s',
      work: { kind: 'read stream', count: 100_000 },
      peers: ['underpin', group, shared],
      goals: [rate(shared, 2), rate(group, 0.6)],
    },
    {
      id: 'feed',
      title: `feed of ${(200_000 * scale).toLocaleString('en')} events, decoded, checksums verified`,
      unit: 'events/s',
      work: { kind: 'feed', count: 200_000 * scale },
      peers: ['underpin', group, shared],
      goals: [rate(shared, 2), rate(group, 0.6)],
    },
  ]
}

/** The state of a long stream: with a snapshot, as fast as its tail is short. */
function states(scale: number): Case[] {
  const stream = { kind: 'state', events: 10_000 } as const
  return [
    {
      id: 'state-replay',
      title: 'state of a stream of 10,000 events, replayed',
      unit: 'states/s',
      work: { ...stream, hasSnapshot: false, count: 40 * scale },
      peers: ['underpin'],
      goals: [],
    },
    {
      id: 'state-snapshot',
      title: 'state of a stream of 10,000 events, from a snapshot and 100 events',
      unit: 'states/s',
      work: { ...stream, hasSnapshot: true, count: 2_000 * scale },
      peers: ['underpin'],
      goals: [rate('underpin', 30, 'state-replay')],
    },
  ]
}

function documents(scale: number): Case[] {
  return [
    {
      id: 'put-64',
      title: 'document put, 64 callers, 10,000 ids',
      unit: 'puts/s',
      work: { kind: 'put', callers: 64, count: 50_000 * scale },
      peers: ['underpin', 'Deno KV', group, 'Keyv SQLite', 'lmdb'],
      goals: [rate('Deno KV', 8)],
    },
    {
      id: 'get-64',
      title: 'document get, 64 callers, 1,000 ids',
      unit: 'gets/s',
      work: { kind: 'get', callers: 64, count: 100_000 * scale },
      peers: ['underpin', 'Deno KV', group, 'Keyv SQLite', 'lmdb'],
      goals: [rate('Deno KV', 3)],
    },
    {
      id: 'get-sync',
      title: 'synchronous get, 1,000 ids',
      unit: 'gets/s',
      work: { kind: 'get synchronously', count: 200_000 * scale },
      peers: ['underpin, synchronous', single, 'lmdb'],
      goals: [rate(single, 0.6)],
    },
  ]
}

function projections(scale: number): Case[] {
  return [
    {
      id: 'projection-inline',
      title: 'append with an inline projection, 64 callers, 1,000 streams',
      unit: 'events/s',
      work: { kind: 'append', streams: 1_000, callers: 64, count: 100_000 * scale },
      peers: ['underpin, inline projection', 'underpin'],
      goals: [rate('underpin', 0.4)],
    },
    {
      id: 'projection-replay',
      title: `replay of ${(200_000 * scale).toLocaleString('en')} events into memory`,
      unit: 'events/s',
      work: { kind: 'feed', count: 200_000 * scale },
      peers: ['underpin, replayed', 'underpin'],
      goals: [rate('underpin', 0.7)],
    },
    {
      id: 'projection-live',
      title: 'live projection, folded from decoded pages',
      unit: 'events/s',
      work: { kind: 'fold', count: 2_000, times: 2_000 * scale },
      peers: ['underpin, live'],
      goals: [{ kind: 'at least', rate: 3_000_000 }],
    },
  ]
}

/** A lock that nobody else wants costs two commits: many callers share groups, a lone one pays each. */
function locks(scale: number): Case[] {
  const one = (callers: number, keys: number, title: string): Case => ({
    id: keys === 1 && callers > 1 ? `lock-${callers}-hot` : `lock-${callers}`,
    title,
    unit: 'locks/s',
    work: { kind: 'lock', callers, keys, count: 20_000 * scale },
    peers: ['underpin'],
    goals: keys === 64 ? [{ kind: 'at least', rate: 2_000 }] : [],
  })
  return [
    one(64, 64, 'lock and unlock, 64 callers, a lock each'),
    one(1, 1, 'lock and unlock, one caller'),
    one(8, 1, 'lock and unlock, 8 callers that want the same'),
  ]
}
