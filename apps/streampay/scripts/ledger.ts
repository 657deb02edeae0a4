/** The judge of what servers did with money: from what callers were told, and from what is stored in the end. */
import type { StreamRecord } from '../lib/stream.ts'

/** A withdrawal that was acknowledged to its caller. */
export interface Paid {
  readonly stream: string
  readonly key: string
  readonly amount: number
  /** Of the stream as it was answered. */
  readonly version: number
}

export interface Facts {
  readonly paid: readonly Paid[]
  /** Versions that callers of every other command were told, its creation among them, by stream. */
  readonly versions: ReadonlyMap<string, readonly number[]>
  readonly streams: readonly {
    readonly record: StreamRecord
    /** By the server's own reckoning, afterwards. */
    readonly accrued: number
    /** The most that can have been earned since its start was asked for, by the caller's clock. */
    readonly accruedAtMost: number
    readonly activity: readonly { readonly type: string; readonly amount: number; readonly version: number }[]
  }[]
}

/** What is wrong; nothing, if every payment was made once and no more was paid than earned. */
export function judge({ paid, versions, streams }: Facts): string[] {
  return streams.flatMap(({ record, accrued, accruedAtMost, activity }) => {
    const { id, settled, withdrawn, refunded, deposit } = record
    const acknowledged = paid.filter(({ stream }) => stream === id)
    const sum = (type: string) =>
      activity.filter((one) => one.type === type).reduce((total, { amount }) => total + amount, 0)
    const payments = activity.filter(({ type }) => type === 'stream.withdrawn')
    const told = [...acknowledged.map(({ version }) => version), ...(versions.get(id) ?? [])]
    const wrong = wrongVersion(told, record.version)
    const total = acknowledged.reduce((before, { amount }) => before + amount, 0)
    return [
      [withdrawn > settled, `${withdrawn} paid out, ${settled} settled`],
      [settled > accrued, `${settled} settled, ${accrued} earned`],
      [accrued > accruedAtMost, `${accrued} earned, at most ${accruedAtMost} in that time`],
      [settled + refunded > deposit, `${settled} settled and ${refunded} refunded of ${deposit}`],
      [total !== withdrawn, `${total} acknowledged, ${withdrawn} in the record`],
      [
        sum('stream.withdrawn') !== withdrawn,
        `${sum('stream.withdrawn')} in the activity, ${withdrawn} paid`,
      ],
      [sum('stream.settled') !== settled, `${sum('stream.settled')} in the activity, ${settled} settled`],
      [
        payments.length !== acknowledged.length,
        `${payments.length} payments, ${acknowledged.length} asked for`,
      ],
      [wrong !== undefined, `version ${wrong} of ${record.version} was lost, or told to nobody, or to two`],
    ].flatMap(([isWrong, what]) => (isWrong ? [`${id}: ${what}`] : []))
  })
}

/** Each change has one caller who was told of it: the first version of which that is not so. */
function wrongVersion(told: readonly number[], last: number): number | undefined {
  const sorted = [...told].sort((a, b) => a - b)
  const versions = Array.from({ length: Math.max(sorted.length, last) }, (_, n) => n + 1)
  return versions.find((version) => version > last || sorted[version - 1] !== version)
}

/** What is wrong with the list of all streams; nothing, if it has each that was acknowledged once, and no other. */
export function judgeList(acknowledged: readonly string[], listed: readonly string[]): string[] {
  const found = new Set(listed)
  const known = new Set(acknowledged)
  return [
    ...acknowledged.filter((id) => !found.has(id)).map((id) => `${id}: was acknowledged, and is not listed`),
    ...listed.filter((id) => !known.has(id)).map((id) => `${id}: is listed, and nobody was told of it`),
    ...listed.filter((id, n) => listed.indexOf(id) !== n).map((id) => `${id}: is listed twice`),
  ]
}
