/** Money: whole minor units (cents) as integers that a double holds exactly. Products are made with BigInt, and rounded down. */
import { z } from 'zod'

/** An amount in minor units: 0 to 2^53 - 1. */
export const amountSchema = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
export const positiveAmountSchema = z.int().min(1).max(Number.MAX_SAFE_INTEGER)

const hourMs = 3_600_000n

/** What a rate per hour makes in a time, rounded down, at most `limit`. */
export function accrue(ratePerHour: number, elapsedMs: number, limit: number): number {
  const exact = (BigInt(ratePerHour) * BigInt(Math.max(0, Math.floor(elapsedMs)))) / hourMs
  return exact < BigInt(limit) ? Number(exact) : limit
}
