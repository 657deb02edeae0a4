/** The server that the tests share with the demo and the benchmarks. */
export {
  findOwner,
  freePort,
  type Owner,
  type PostgresServer,
  startPostgres,
} from '../../scripts/postgres-server.ts'
