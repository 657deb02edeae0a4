/** An integer from 1, per domain, gapless, in commit order. Every change gets its own. 0 stands before the first. */
export type Position = number
