/** The names of tables, columns and indexes. Names of domains and collections hold no "__", so these cannot collide. */
import { isOwnCollection } from '../../model/collection.ts'

/** The prefix of everything that belongs to a domain. */
export function domainPrefix(domain: string): string {
  return `${domain}__`
}

export function eventsTable(domain: string): string {
  return `"${domain}__events"`
}

export function collectionTable(domain: string, collection: string): string {
  return `"${collectionName(domain, collection)}"`
}

export function indexName(domain: string, collection: string, index: string): string {
  return `"${collectionName(domain, collection)}__${index}"`
}

/** The column of a declared field. */
export function fieldColumn(field: string): string {
  return `"f_${field}"`
}

function collectionName(domain: string, collection: string): string {
  return isOwnCollection(collection) ? `${domain}__s_${collection.slice(1)}` : `${domain}__d_${collection}`
}
