/**
 * The group commit inside the server: a plpgsql function over arrays takes the fence, reads the streams' heads from the
 * index of the events, and gives positions and seqs. The fence is never read by the client, so processes that write
 * one domain only wait for each other. No digest and no checksum of positions and seqs, which are not known before:
 * this is the most that Underpin could reach by such a function, kept here to be measured again.
 */
import { hash } from 'node:crypto'
import pg from 'pg'
import type { Happened } from '../work.ts'
import { textArray } from './binary.ts'
import type { OpenPeer } from './peer.ts'
import { groupUp } from './queue.ts'

interface NewEvent extends Happened {
  readonly stream: string
}

export const inServer: OpenPeer = async (url, domain = 'bench') => {
  const pool = new pg.Pool({ connectionString: url, max: 10 })
  await pool.query(schema(domain))
  const append = groupUp<NewEvent>(1, (events) => {
    const data = events.map(({ data }) => JSON.stringify(data))
    const values = [
      1,
      Date.now(),
      textArray(events.map(({ stream }) => stream)),
      textArray(events.map(({ type }) => type)),
      textArray(data),
      textArray(events.map(({ stream, type }, i) => checksum(`${stream}\0${type}\0${data[i]}`))),
    ]
    return pool.query({ name: 'append', text: `SELECT "${domain}__append"($1, $2, $3, $4, $5, $6)`, values })
  })
  return {
    durability: 'synchronous_commit=on',
    append: (stream, happened) => append({ ...happened, stream }),
    async count() {
      return Number((await pool.query(`SELECT count(*) FROM "${domain}__events"`)).rows[0].count)
    },
    close: () => pool.end(),
  }
}

function checksum(content: string): string {
  return hash('sha256', content, 'hex').slice(0, 32)
}

/** The same columns and indexes as Underpin's. VOLATILE, so that each statement sees what the lock was waited for. */
function schema(domain: string): string {
  return `
    SELECT pg_advisory_lock(1);
    CREATE TABLE IF NOT EXISTS fences (
      domain text COLLATE "C" PRIMARY KEY, epoch bigint NOT NULL, head bigint NOT NULL
    ) WITH (fillfactor = 10);
    INSERT INTO fences VALUES ('${domain}', 1, 0) ON CONFLICT DO NOTHING;
    CREATE TABLE IF NOT EXISTS "${domain}__events" (
      position bigint PRIMARY KEY, stream text COLLATE "C" NOT NULL, seq bigint NOT NULL, type text COLLATE "C" NOT NULL,
      at bigint NOT NULL, commit_position bigint NOT NULL, meta text, data text NOT NULL, checksum text NOT NULL
    );
    CREATE UNIQUE INDEX IF NOT EXISTS "${domain}__by_stream" ON "${domain}__events" (stream, seq);
    CREATE OR REPLACE FUNCTION "${domain}__append"(
      _epoch bigint, _at bigint, _streams text[], _types text[], _data text[], _checksums text[]
    ) RETURNS bigint LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $$
    DECLARE
      _head bigint;
    BEGIN
      UPDATE fences SET head = head + cardinality(_streams) WHERE domain = '${domain}' AND epoch = _epoch
        RETURNING head - cardinality(_streams) INTO _head;
      IF NOT FOUND THEN RAISE EXCEPTION 'fenced'; END IF;
      INSERT INTO "${domain}__events" (position, stream, seq, type, at, commit_position, data, checksum)
        SELECT _head + u.n, u.stream, coalesce(h.seq, 0) + row_number() OVER (PARTITION BY u.stream ORDER BY u.n),
               u.type, _at, _head + u.n, u.data, u.checksum
        FROM unnest(_streams, _types, _data, _checksums) WITH ORDINALITY AS u (stream, type, data, checksum, n)
        LEFT JOIN LATERAL (
          SELECT seq FROM "${domain}__events" e WHERE e.stream = u.stream COLLATE "C" ORDER BY seq DESC LIMIT 1
        ) h ON true;
      RETURN _head;
    END $$;
    SELECT pg_advisory_unlock(1)`
}
