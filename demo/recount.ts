/**
 * Counts the history once more, from another output of git, with code that shares nothing with what was imported:
 * `--shortstat` sums up each commit itself.
 */
import { gitTokens } from './git.ts'
import { authorOf } from './history.ts'
import type { AuthorDocument } from './model.ts'

/** What each author did, and so what the documents of the authors must say. */
export async function recountAuthors(repo: string, head: string): Promise<Map<string, AuthorDocument>> {
  const format = '--format=%x00%aE%x00%aN%x00'
  const args = [
    'log',
    '-M',
    '--shortstat',
    '--encoding=UTF-8',
    format,
    '--no-ext-diff',
    '--no-color',
    head,
    '--',
  ]
  const authors = new Map<string, AuthorDocument>()
  // Three fields for each commit, behind the text before the first: the e-mail address, the name, the sums.
  const tokens = gitTokens(repo, args)
  await tokens.next()
  for (;;) {
    const email = await tokens.next()
    if (email.done) return authors
    const name = await tokens.next()
    const sums = await tokens.next()
    const author = authorOf(String(name.value), String(email.value))
    authors.set(author, add(authors.get(author), String(sums.value ?? '')))
  }
}

function add(before: AuthorDocument | undefined, sums: string): AuthorDocument {
  return {
    commits: (before?.commits ?? 0) + 1,
    changes: (before?.changes ?? 0) + numberBefore(/ files? changed/, sums),
    added: (before?.added ?? 0) + numberBefore(/ insertions?\(\+\)/, sums),
    deleted: (before?.deleted ?? 0) + numberBefore(/ deletions?\(-\)/, sums),
  }
}

function numberBefore(words: RegExp, text: string): number {
  return Number(new RegExp(`(\\d+)${words.source}`).exec(text)?.[1] ?? 0)
}
