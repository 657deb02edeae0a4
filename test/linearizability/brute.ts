/** The definition of linearizability, tried out: every order of every choice of what took effect. For small histories. */
import { initial, type Operation, type Register, type State, step } from './checker.ts'

export function isLinearizable(register: Register, operations: readonly Operation[]): boolean {
  return canGoOn(register, initial, operations)
}

function canGoOn(register: Register, state: State, left: readonly Operation[]): boolean {
  if (left.every(({ answer }) => answer.kind === 'unknown')) return true
  return left.some((next) => {
    const isOvertaken = left.some(({ answer, to }) => answer.kind !== 'unknown' && to < next.from)
    const after = isOvertaken ? undefined : step(register, state, next)
    return (
      after !== undefined &&
      canGoOn(
        register,
        after,
        left.filter((operation) => operation !== next),
      )
    )
  })
}
