/** What a copy says when it finds in its way what no page brought. */
import { UnderpinError } from '../error.ts'

export function inTheWay(domain: string, cause: unknown): UnderpinError {
  const because = cause instanceof Error ? cause.message : String(cause)
  return new UnderpinError(
    'foreign',
    `A record that nobody applied stands in the way of a page of domain ${domain}: ${because}`,
    {
      hint: 'Something other than the mover wrote to the copy. `underpin move verify` names the record, `underpin move repair` removes it.',
      details: { domain },
      cause,
    },
  )
}
