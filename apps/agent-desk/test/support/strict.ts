import { expect } from 'vitest'

/** Where nothing is to fail behind what was asked for. */
export const strict = { onError: (error: unknown) => expect.unreachable(String(error)) }
