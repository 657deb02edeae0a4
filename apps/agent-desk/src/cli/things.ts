/** `desk project …`, `desk thread …`, `desk checkpoint …`, `desk setting …`: a command of the desk each. */
import type { Command } from 'commander'
import { Refusal } from '../refusal.ts'
import { print, type Session, withDesk } from './session.ts'

export function addThings(program: Command): void {
  addProjects(program.command('project').description('folders that agents work in'))
  addThreads(program.command('thread').description('conversations in a project'))
  addCheckpoints(program.command('checkpoint').description('what the files were behind a turn'))
  addSettings(program.command('setting').description('JSON values by key'))
}

function addProjects(projects: Command): void {
  projects
    .command('add <title>')
    .requiredOption('--workspace-root <path>', 'the folder')
    .option('--default-model <model>')
    .option('--project-id <id>')
    .action((title, flags, command) => dispatch(command, { type: 'project.add', title, ...flags }))
  projects
    .command('update <project>')
    .option('--title <title>')
    .option('--workspace-root <path>')
    .option('--default-model <model>')
    .action((projectId, flags, command) => dispatch(command, { type: 'project.update', projectId, ...flags }))
  projects
    .command('delete <project>')
    .action((projectId, _, command) => dispatch(command, { type: 'project.delete', projectId }))
  projects.command('list').action((_, command) => show(command, ({ reader }) => reader.projects()))
}

function addThreads(threads: Command): void {
  threads
    .command('new <project> <title>')
    .option('--model <model>')
    .option('--branch <branch>')
    .option('--worktree-path <path>')
    .option('--thread-id <id>')
    .action((projectId, title, flags, command) =>
      dispatch(command, { type: 'thread.create', projectId, title, ...flags }),
    )
  threads
    .command('update <thread>')
    .option('--title <title>')
    .option('--model <model>')
    .option('--branch <branch>')
    .option('--worktree-path <path>')
    .action((threadId, flags, command) => dispatch(command, { type: 'thread.update', threadId, ...flags }))
  threads
    .command('delete <thread>')
    .action((threadId, _, command) => dispatch(command, { type: 'thread.delete', threadId }))
  threads
    .command('list <project>')
    .action((projectId, _, command) => show(command, ({ reader }) => reader.threads(projectId)))
  threads
    .command('show <thread>')
    .action((threadId, _, command) =>
      show(command, ({ reader }) => ({ ...reader.thread(threadId), turns: reader.turns(threadId) })),
    )
}

function addCheckpoints(checkpoints: Command): void {
  checkpoints
    .command('list <thread>')
    .action((threadId, _, command) => show(command, ({ reader }) => reader.checkpoints(threadId)))
  checkpoints
    .command('mark <ref> <status>')
    .description('ready, restored or discarded')
    .action((ref, status, _, command) => dispatch(command, { type: 'checkpoint.mark', ref, status }))
}

function addSettings(settings: Command): void {
  settings
    .command('set <key> <json>')
    .action((key, json, _, command) => dispatch(command, { type: 'setting.set', key, value: parse(json) }))
  settings
    .command('remove <key>')
    .action((key, _, command) => dispatch(command, { type: 'setting.remove', key }))
  settings.command('list').action((_, command) => show(command, ({ reader }) => reader.settings()))
}

/** Dispatches, and prints what happened. */
export async function dispatch(command: Command, input: object): Promise<void> {
  const done = await withDesk(command, ({ desk }) => desk.dispatch(input))
  print(done.events.length > 0 ? done.events : { unchanged: done.command })
}

export async function show(command: Command, read: (session: Session) => unknown): Promise<void> {
  print(await withDesk(command, read))
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    throw new Refusal('invalid', `${json} is no JSON`, `A text is given as '"text"'.`)
  }
}
