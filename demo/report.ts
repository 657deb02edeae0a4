/** How the demo prints what it did. */
import type { StoredDocument } from 'underpin'
import type { Check } from './check.ts'
import type { FileDocument } from './model.ts'

export function printTitle(title: string): void {
  console.log(`\n${title}\n`)
}

export function printLine(word: string, text: string): void {
  console.log(`  ${word.padEnd(10)}${text}`)
}

export function printChecks(checks: readonly Check[]): void {
  console.log()
  for (const { what, found, isEqual } of checks)
    printLine(isEqual ? 'equal' : 'NOT EQUAL', `${what}: ${found}`)
}

export function printFiles(files: readonly StoredDocument<FileDocument>[]): void {
  console.log('\n  The most changed files, from the index of their documents:\n')
  for (const { id, value } of files) {
    const lines = `+${value.added} -${value.deleted}`
    console.log(`  ${String(value.changes).padStart(6)} changes  ${lines.padEnd(16)}  ${toPrintable(id)}`)
  }
  console.log()
}

/** A name of a file may hold anything, line ends and terminal codes too. */
function toPrintable(name: string): string {
  const isPlain = !/[\x00-\x1f\x7f-\x9f"\\]/.test(name)
  const text = isPlain ? name : JSON.stringify(name)
  return text.length > 90 ? `${text.slice(0, 89)}…` : text
}
