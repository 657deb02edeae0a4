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
  /** Versions that callers of other commands were told, by stream. */
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
      [new Set(told).size !== told.length, 'two commands were told the same version'],
      [Math.max(0, ...told) > record.version, `version ${Math.max(0, ...told)} was told and is lost`],
    ].flatMap(([isWrong, what]) => (isWrong ? [`${id}: ${what}`] : []))
  })
}
