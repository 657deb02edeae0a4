/** A life of commands at random, many of which are refused: what a desk may go through. */
import type { Desk } from '../../src/desk.ts'
import { Refusal } from '../../src/refusal.ts'

const things = 4
/** Types that end something are drawn seldom, or there would soon be nothing left. */
const often = ['turn.start', 'turn.begin', 'message.append', 'message.append', 'turn.resume', 'message.add']
const usual = [
  'project.update',
  'thread.update',
  'turn.interrupt',
  'turn.complete',
  'checkpoint.create',
  'checkpoint.mark',
  'setting.set',
  'setting.remove',
]
const seldom = [
  'project.add',
  'project.delete',
  'thread.create',
  'thread.delete',
  'turn.fail',
  'turn.abandon',
]

/** Dispatches so many commands, and tells how many were refused. Whatever else one fails with is thrown. */
export async function live(desk: Desk, random: () => number, commands: number): Promise<number> {
  let refused = 0
  for (let i = 0; i < 2 * things; i++)
    await desk.dispatch(
      i < things
        ? project(i)
        : { type: 'thread.create', projectId: `p${i % things}`, threadId: `t${i % things}`, title: 'T' },
    )
  for (let i = 0; i < commands; i++)
    try {
      await desk.dispatch(draw(desk, random, i))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      refused++
    }
  return refused
}

const project = (i: number) => ({
  type: 'project.add',
  projectId: `p${i}`,
  title: 'P',
  workspaceRoot: `/${i}`,
})

function draw(desk: Desk, random: () => number, i: number): object {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const some = (kind: string) => `${kind}${Math.floor(random() * things)}`
  const weight = random()
  const type = pick(weight < 0.6 ? often : weight < 0.92 ? usual : seldom)
  const { turns, messages, checkpoints } = desk.state
  const open = [...turns].filter(([, { state }]) => ['requested', 'running', 'interrupted'].includes(state))
  const turnId = pick(open)?.[0] ?? 'none'
  const messageId = turns.get(turnId)?.messageId ?? 'none'
  const index = messages.get(messageId)?.deltas ?? 0
  const ref = pick([...checkpoints.keys()]) ?? 'none'
  const files = [{ path: 'a', kind: 'added', additions: 1, deletions: 0 }]
  const fields: Record<string, object> = {
    'project.add': project(i),
    'project.update': { projectId: some('p'), title: `P${i}` },
    'project.delete': { projectId: some('p') },
    'thread.create': { projectId: some('p'), threadId: `t${i}`, title: 'T' },
    'thread.update': { threadId: some('t'), branch: pick(['main', 'fix']) },
    'thread.delete': { threadId: some('t') },
    'turn.start': { threadId: some('t'), turnId: `u${i}`, prompt: 'Go', agent: { kind: 'external' } },
    'turn.complete': random() < 0.5 ? { turnId } : { turnId, checkpoint: { ref: `c${i}`, files } },
    'turn.fail': { turnId, reason: 'It fell over' },
    'message.add': { turnId, messageId: `n${i}`, role: 'system', text: 'Note' },
    'message.append': { messageId, index, texts: [`${i} `, 'more '] },
    'checkpoint.create': { turnId, ref: `c${i}`, files },
    'checkpoint.mark': { ref, status: pick(['ready', 'restored', 'discarded']) },
    'setting.set': { key: some('k'), value: i },
    'setting.remove': { key: some('k') },
  }
  return { type, ...(fields[type] ?? { turnId }) }
}
