/** Problem details (RFC 9457) for requests that are refused before or instead of their handler. */

export interface Problem {
  readonly status: 400 | 409 | 413 | 422
  readonly title: string
  readonly detail: string
}

export function problemResponse(
  { status, title, detail }: Problem,
  documentation: string | undefined,
): Response {
  const type = documentation ?? 'about:blank'
  const headers = new Headers({ 'content-type': 'application/problem+json', 'cache-control': 'no-store' })
  if (documentation !== undefined) headers.set('link', `<${documentation}>; rel="describedby"`)
  if (status === 409) headers.set('retry-after', '1')
  return new Response(JSON.stringify({ type, title, status, detail }), { status, headers })
}
