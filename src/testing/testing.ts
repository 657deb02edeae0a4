/** `underpin/testing`: a clock that a test owns, given/when/then for deciders and projections, a store that fails on purpose. */
export { FakeClock, idle } from './fake-clock.ts'
export {
  type Fault,
  FaultyMemory,
  type FaultyMemoryOptions,
  faultyMemory,
  type Injected,
} from './faulty-memory.ts'
export {
  type Decider,
  Decision,
  type ExpectedError,
  Given,
  type GivenEvent,
  given,
  Projected,
  type TestedProjection,
} from './given.ts'
