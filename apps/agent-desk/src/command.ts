/** What can be asked of a desk: validated here once, at the edge. Ids that are left out are drawn. */
import { randomUUID } from 'node:crypto'
import type { Json } from 'underpin'
import { z } from 'zod'
import { Refusal } from './refusal.ts'

const id = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be 1 to 64 letters, digits, ".", "_" or "-"')
const newId = id.default(() => randomUUID())
const title = z.string().trim().min(1).max(200)
const model = z.string().trim().min(1).max(100)
const path = z.string().min(1).max(1_000)
const text = z.string().max(100_000)
/** The process that speaks; left out by an external agent. */
const runner = id.nullable().default(null)
const role = z.enum(['user', 'assistant', 'system'])
const count = z.int().min(0).max(1_000_000)

const agent = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('simulated'),
    seed: z.string().min(1).max(100),
    deltas: z.int().min(1).max(100_000).default(40),
    delayMs: z.int().min(0).max(60_000).default(25),
  }),
  z.strictObject({ kind: z.literal('external') }),
])

const file = z.strictObject({
  path,
  kind: z.enum(['added', 'modified', 'deleted']),
  additions: count,
  deletions: count,
})

const projectFields = { title, workspaceRoot: path, defaultModel: model }
const threadFields = { title, model, branch: path.nullable(), worktreePath: path.nullable() }

export const commandSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('project.add'),
    projectId: newId,
    ...projectFields,
    defaultModel: model.default('simulated-1'),
  }),
  z.strictObject({
    type: z.literal('project.update'),
    projectId: id,
    ...z.strictObject(projectFields).partial().shape,
  }),
  z.strictObject({ type: z.literal('project.delete'), projectId: id }),
  z.strictObject({
    type: z.literal('thread.create'),
    threadId: newId,
    projectId: id,
    title,
    model: model.optional(),
    branch: path.nullable().default(null),
    worktreePath: path.nullable().default(null),
  }),
  z.strictObject({
    type: z.literal('thread.update'),
    threadId: id,
    ...z.strictObject(threadFields).partial().shape,
  }),
  z.strictObject({ type: z.literal('thread.delete'), threadId: id }),
  z.strictObject({
    type: z.literal('turn.start'),
    threadId: id,
    turnId: newId,
    messageId: newId,
    prompt: text.min(1),
    agent: agent.optional(),
    runner,
  }),
  z.strictObject({ type: z.literal('turn.begin'), turnId: id, messageId: newId, runner }),
  z.strictObject({
    type: z.literal('turn.complete'),
    turnId: id,
    runner,
    checkpoint: z.strictObject({ ref: newId, files: z.array(file).max(1_000) }).optional(),
  }),
  z.strictObject({ type: z.literal('turn.fail'), turnId: id, reason: text.min(1), runner }),
  z.strictObject({ type: z.literal('turn.interrupt'), turnId: id, reason: text.min(1).default('asked for') }),
  z.strictObject({ type: z.literal('turn.resume'), turnId: id, messageId: newId, runner }),
  z.strictObject({ type: z.literal('turn.abandon'), turnId: id }),
  z.strictObject({ type: z.literal('message.add'), messageId: newId, turnId: id, role, text }),
  z.strictObject({
    type: z.literal('message.append'),
    messageId: id,
    index: count,
    texts: z.array(text).min(1).max(1_000),
    runner,
  }),
  z.strictObject({
    type: z.literal('checkpoint.create'),
    ref: newId,
    turnId: id,
    files: z.array(file).max(1_000),
  }),
  z.strictObject({
    type: z.literal('checkpoint.mark'),
    ref: id,
    status: z.enum(['ready', 'restored', 'discarded']),
  }),
  z.strictObject({
    type: z.literal('setting.set'),
    key: id,
    value: z.json().transform((value) => value as Json),
  }),
  z.strictObject({ type: z.literal('setting.remove'), key: id }),
])

/** A command in which everything is said. */
export type Command = z.output<typeof commandSchema>
/** A command as it is given: what has a default may be left out. */
export type CommandInput = z.input<typeof commandSchema>
export type CommandOf<T extends Command['type']> = Extract<Command, { type: T }>

/** `invalid` names each field that is wrong. */
export function parseCommand(input: unknown): Command {
  const parsed = commandSchema.safeParse(input)
  if (parsed.success) return parsed.data
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'command'}: ${issue.message}`)
  throw new Refusal(
    'invalid',
    `The command cannot be understood: ${issues.join('; ')}`,
    'See README.md, "Commands".',
  )
}
