/** The cases on PostgreSQL. */
import { type Case, rate } from '../case.ts'
import { moveCases } from './move-copy.ts'

const group = 'pg, group commit by hand'
const inServer = 'plpgsql function, group commit by hand'
const single = 'pg, one call each'
const emmett = 'Emmett PostgreSQL'
const messageDb = 'message-db'
const keyv = 'Keyv PostgreSQL'
const boss = 'pg-boss'
const graphile = 'graphile-worker'

/** All cases; quick ones store a quarter. */
export function postgresCases(isQuick: boolean): readonly Case[] {
  const scale = isQuick ? 0.25 : 1
  return [
    ...appends(scale),
    ...together(scale),
    ...reads(scale),
    ...documents(scale),
    ...jobs(scale),
    ...moveCases(scale),
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
      work: { ...many, callers: 64, count: 200_000 * scale },
      peers: ['underpin, PostgreSQL', group, inServer, single, emmett, messageDb],
      goals: [rate(emmett, 12), rate(group, 0.65)],
    },
    {
      id: 'append-64-hot',
      title: 'append, 64 callers, one stream',
      unit: 'events/s',
      work: { ...hot, callers: 64, count: 200_000 * scale },
      peers: ['underpin, PostgreSQL', group, inServer, emmett, messageDb],
      goals: [rate('underpin', 0.8, 'append-64'), { kind: 'no failure' }],
    },
    {
      id: 'append-1',
      title: 'append, one caller, 1,000 streams',
      unit: 'events/s',
      work: { ...many, callers: 1, count: 20_000 * scale },
      peers: ['underpin, PostgreSQL', single, inServer, emmett, messageDb],
      goals: [{ kind: 'latency', at: 'p50', atMost: 1.4, against: single }],
    },
    {
      id: 'append-1024',
      title: 'append, 1,024 callers, 1,000 streams',
      unit: 'events/s',
      work: { ...many, callers: 1_024, count: 400_000 * scale },
      peers: ['underpin, PostgreSQL', group, inServer],
      goals: [],
    },
  ]
}

/** The same seconds with one process and with four; two cores, which the server shares, are the limit. */
function together(scale: number): Case[] {
  const seconds = 6 * scale
  const work = { kind: 'append together', callers: 64, streams: 1_000, seconds } as const
  return [
    {
      id: 'processes-1',
      title: `one process × 64 callers, ${seconds} s`,
      unit: 'events/s',
      work: { ...work, processes: 1, domains: 1 },
      peers: ['underpin, PostgreSQL', inServer, emmett],
      goals: [],
    },
    {
      id: 'processes-4',
      title: `4 processes × 64 callers on one domain, ${seconds} s`,
      unit: 'events/s in all',
      work: { ...work, processes: 4, domains: 1 },
      peers: ['underpin, PostgreSQL', inServer, emmett],
      goals: [
        rate('underpin', 0.75, 'processes-1'),
        { kind: 'latency', at: 'p99', atMost: 30 },
        { kind: 'no failure' },
      ],
    },
    {
      id: 'processes-4-domains',
      title: `4 processes × 64 callers on four domains, ${seconds} s`,
      unit: 'events/s in all',
      work: { ...work, processes: 4, domains: 4 },
      peers: ['underpin, PostgreSQL', inServer],
      goals: [rate('underpin', 1.1, 'processes-1'), { kind: 'no failure' }],
    },
  ]
}

function reads(scale: number): Case[] {
  return [
    {
      id: 'read-stream',
      title: 'read streams of 1,000 events, decoded, checksums verified',
      unit: 'events/s',
      work: { kind: 'read stream', count: 100_000 * scale },
      peers: ['underpin, PostgreSQL', group, emmett],
      goals: [rate(emmett, 2)],
    },
    {
      id: 'feed',
      title: `feed of ${(200_000 * scale).toLocaleString('en')} events, decoded, checksums verified`,
      unit: 'events/s',
      work: { kind: 'feed', count: 200_000 * scale },
      peers: ['underpin, PostgreSQL', group, emmett],
      goals: [rate(emmett, 2)],
    },
    {
      id: 'apply',
      title: `a follower takes ${(200_000 * scale).toLocaleString('en')} events and ${(20_000 * scale).toLocaleString('en')} documents, pages of 10,000`,
      unit: 'changes/s',
      work: { kind: 'apply', events: 200_000 * scale, documents: 20_000 * scale },
      peers: ['underpin, PostgreSQL', 'COPY by hand'],
      goals: [rate('COPY by hand', 0.6)],
    },
  ]
}

function documents(scale: number): Case[] {
  return [
    {
      id: 'put-64',
      title: 'document put, 64 callers, 10,000 ids',
      unit: 'puts/s',
      work: { kind: 'put', callers: 64, count: 100_000 * scale },
      peers: ['underpin, PostgreSQL', group, single, keyv],
      goals: [rate(keyv, 5)],
    },
    {
      id: 'get-64',
      title: 'document get, 64 callers, 1,000 ids',
      unit: 'gets/s',
      work: { kind: 'get', callers: 64, count: 100_000 * scale },
      peers: ['underpin, PostgreSQL', single, keyv],
      goals: [rate(single, 0.9)],
    },
  ]
}

function jobs(scale: number): Case[] {
  const peers = ['underpin, PostgreSQL', boss, graphile]
  const goals = [rate(boss, 1), rate(graphile, 0.5), { kind: 'no failure' } as const]
  return [
    {
      id: 'jobs-enqueue',
      title: 'enqueue jobs one by one, 64 callers',
      unit: 'jobs/s',
      work: { kind: 'enqueue', callers: 64, count: 40_000 * scale },
      peers,
      goals,
    },
    {
      id: 'jobs-work',
      title: `work off ${(10_000 * scale).toLocaleString('en')} jobs, 64 at once`,
      unit: 'jobs/s',
      work: { kind: 'work off', count: 10_000 * scale },
      peers: [...peers, 'pg-boss, batches of 500'],
      goals,
    },
  ]
}
