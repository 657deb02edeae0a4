import { describe, expect, it } from 'vitest'
import { type CommandInput, parseCommand } from '../src/command.ts'
import { decide } from '../src/decide/decide.ts'
import { type DeskEvent, eventTypeName } from '../src/event.ts'
import { DeskState } from '../src/state.ts'

/** The state that commands lead to, decided one behind the other. */
function stateBehind(...commands: CommandInput[]): DeskState {
  const state = new DeskState()
  for (const command of commands)
    for (const event of decide(state, parseCommand(command)).events) take(state, event)
  return state
}

function take(state: DeskState, event: DeskEvent): void {
  state.take({ ...event, sequence: state.sequence + 1, storedAt: '2026-01-01T00:00:00.000Z' })
}

/** The types of the events that a command leads to. */
const typesOf = (state: DeskState, command: CommandInput) =>
  decide(state, parseCommand(command)).events.map(eventTypeName)

const refusal = (state: DeskState, command: CommandInput) => {
  try {
    return decide(state, parseCommand(command))
  } catch (error) {
    return (error as { code: string }).code
  }
}

const project: CommandInput = { type: 'project.add', projectId: 'p', title: 'P', workspaceRoot: '/p' }
const thread: CommandInput = { type: 'thread.create', threadId: 't', projectId: 'p', title: 'T' }
const start: CommandInput = {
  type: 'turn.start',
  threadId: 't',
  turnId: 'u',
  messageId: 'asked',
  prompt: 'Go',
  runner: 'me',
}
const begin: CommandInput = { type: 'turn.begin', turnId: 'u', messageId: 'm', runner: 'me' }
const append = (index: number, ...texts: string[]): CommandInput => ({
  type: 'message.append',
  messageId: 'm',
  index,
  texts,
  runner: 'me',
})

describe('projects', () => {
  it('are added once, each with a folder of its own', () => {
    const state = stateBehind(project)
    expect(refusal(state, project)).toBe('exists')
    expect(refusal(state, { ...project, projectId: 'q' })).toBe('exists')
    expect(typesOf(state, { ...project, projectId: 'q', workspaceRoot: '/q' })).toEqual(['project.added'])
  })

  it('give their folder free when they are deleted, and are gone then', () => {
    const state = stateBehind(project, { type: 'project.delete', projectId: 'p' })
    expect(typesOf(state, { ...project, projectId: 'q' })).toEqual(['project.added'])
    expect(refusal(state, { type: 'project.update', projectId: 'p', title: 'X' })).toBe('not-found')
    expect(refusal(state, thread)).toBe('not-found')
  })

  it('are not deleted under an open turn', () => {
    const state = stateBehind(project, thread, start)
    expect(refusal(state, { type: 'project.delete', projectId: 'p' })).toBe('wrong-state')
  })

  it('are left alone by an update that says nothing', () => {
    expect(typesOf(stateBehind(project), { type: 'project.update', projectId: 'p' })).toEqual([])
  })
})

describe('threads', () => {
  it('take the model of their project unless they name one', () => {
    const state = stateBehind({ ...project, defaultModel: 'large' })
    const [event] = decide(state, parseCommand(thread)).events
    expect(event?.data).toMatchObject({ model: 'large', branch: null, worktreePath: null })
  })

  it('depend on the projects, so that one deleted meanwhile gets no thread', () => {
    expect(decide(stateBehind(project), parseCommand(thread)).reads).toEqual(['projects'])
  })
})

describe('turns', () => {
  it('begin with what was asked, one at a time in a thread', () => {
    expect(typesOf(stateBehind(project, thread), start)).toEqual(['turn.requested', 'message.added'])
    expect(refusal(stateBehind(project, thread, start), { ...start, turnId: 'v', messageId: 'n' })).toBe(
      'wrong-state',
    )
  })

  it('end in one commit with their message and their checkpoint', () => {
    const state = stateBehind(project, thread, start, begin)
    const complete: CommandInput = {
      type: 'turn.complete',
      turnId: 'u',
      runner: 'me',
      checkpoint: { ref: 'c', files: [] },
    }
    expect(typesOf(state, complete)).toEqual(['message.finished', 'checkpoint.created', 'turn.completed'])
    expect(refusal(stateBehind(project, thread, start), complete)).toBe('wrong-state')
  })

  it('go on with the message that had begun, or get one', () => {
    const interrupt: CommandInput = { type: 'turn.interrupt', turnId: 'u' }
    const resume: CommandInput = { type: 'turn.resume', turnId: 'u', runner: 'other' }
    expect(typesOf(stateBehind(project, thread, start, interrupt), resume)).toEqual([
      'turn.resumed',
      'message.started',
    ])
    const state = stateBehind(project, thread, start, begin, append(0, 'a'), interrupt)
    expect(state.messages.get('m')).toEqual({ turnId: 'u', deltas: 1, isStreaming: false })
    expect(refusal(state, append(1, 'b'))).toBe('wrong-state')
    expect(typesOf(state, resume)).toEqual(['turn.resumed'])
  })

  it('take nothing from a process that they were taken from', () => {
    const interrupt: CommandInput = { type: 'turn.interrupt', turnId: 'u' }
    const resume: CommandInput = { type: 'turn.resume', turnId: 'u', runner: 'other' }
    const state = stateBehind(project, thread, start, begin, interrupt, resume)
    expect(refusal(state, append(0, 'late'))).toBe('not-runner')
    expect(refusal(state, { type: 'turn.complete', turnId: 'u', runner: 'me' })).toBe('not-runner')
  })

  it('let the next one begin when they are abandoned', () => {
    const state = stateBehind(project, thread, start, begin, { type: 'turn.abandon', turnId: 'u' })
    expect(typesOf(state, { ...start, turnId: 'v', messageId: 'n' })).toHaveLength(2)
    expect(refusal(state, { type: 'turn.resume', turnId: 'u' })).toBe('wrong-state')
  })
})

describe('deltas', () => {
  const state = stateBehind(project, thread, start, begin, append(0, 'a', 'b'))

  it('are stored once, however often they are sent', () => {
    expect(typesOf(state, append(0, 'a', 'b'))).toEqual([])
    const { events } = decide(state, parseCommand(append(1, 'b', 'c')))
    expect(events.map(({ data }) => data)).toEqual([
      { messageId: 'm', threadId: 't', turnId: 'u', index: 2, text: 'c' },
    ])
  })

  it('leave no gap', () => {
    expect(refusal(state, append(3, 'd'))).toBe('gap')
  })
})

describe('settings and checkpoints', () => {
  it('are left alone by a command that changes nothing', () => {
    const set: CommandInput = { type: 'setting.set', key: 'theme', value: { dark: true } }
    expect(typesOf(stateBehind(set), set)).toEqual([])
    expect(
      refusal(stateBehind(set, { type: 'setting.remove', key: 'theme' }), {
        type: 'setting.remove',
        key: 'theme',
      }),
    ).toBe('not-found')
  })

  it('are marked by what became of the files', () => {
    const create: CommandInput = { type: 'checkpoint.create', ref: 'c', turnId: 'u', files: [] }
    const mark: CommandInput = { type: 'checkpoint.mark', ref: 'c', status: 'restored' }
    const state = stateBehind(project, thread, start, begin, create)
    expect(typesOf(state, mark)).toEqual(['checkpoint.marked'])
    expect(typesOf(state, { ...mark, status: 'ready' })).toEqual([])
  })
})

it.each([
  [{ type: 'turn.begxn' }, /type: /],
  [{ ...project, title: ' ' }, /title: /],
  [{ ...project, projectId: '../etc' }, /projectId: must be 1 to 64/],
  [{ ...project, colour: 'red' }, /colour/],
  [{ ...start, agent: { kind: 'simulated', seed: 's', deltas: 0 } }, /agent\.deltas: /],
  ['project.add', /command: /],
])('a command that is wrong is refused, and the refusal names the field: %j', (command, message) => {
  expect(() => parseCommand(command)).toThrow(message)
})
