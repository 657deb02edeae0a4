/** The command that was given, changed, as a line to copy: how to go on. */
import { maskSecrets } from '../index.ts'
import { quoteForShell } from './text.ts'

/** This command with an option set to a value, or switched on if there is none. */
export function commandWith(option: string, value?: string): string {
  const given = process.argv.slice(2)
  const at = given.findIndex((argument) => argument === option || argument.startsWith(`${option}=`))
  if (at >= 0) given.splice(at, given[at] === option && value !== undefined ? 2 : 1)
  const all = [...given, option, ...(value === undefined ? [] : [value])]
  return ['underpin', ...all.map(quoteForShell).map(maskSecrets)].join(' ')
}

/** This command as it was given. */
export function sameCommand(): string {
  return ['underpin', ...process.argv.slice(2).map(quoteForShell).map(maskSecrets)].join(' ')
}
