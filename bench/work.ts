/** What is stored in every run: an event of about 200 bytes of JSON. */
export interface Happened {
  readonly type: 'happened'
  readonly data: {
    readonly n: number
    readonly user: string
    readonly text: string
    readonly ok: boolean
    readonly tags: readonly string[]
  }
}

export function event(n: number): Happened {
  return {
    type: 'happened',
    data: { n, user: `user-${n % 100}`, text: 'x'.repeat(130), ok: true, tags: ['a', 'b'] },
  }
}
