/** The command that was given, changed, as a line to copy: how to go on. */
import { maskSecrets } from '../index.ts'
import { quoteForShell } from './text.ts'

type Option = readonly [name: string, value?: string]

/** This command with an option set to a value, or switched on if there is none. */
export function commandWith(...option: Option): string {
  return commandWithAll([option])
}

/** This command with each of these options set to its value, or switched on if it has none. */
export function commandWithAll(options: readonly Option[]): string {
  return shown(options.reduce(withOption, process.argv.slice(2)))
}

/** This command as it was given. */
export function sameCommand(): string {
  return shown(process.argv.slice(2))
}

function withOption(given: readonly string[], [name, value]: Option): string[] {
  const rest = [...given]
  const at = rest.findIndex((argument) => argument === name || argument.startsWith(`${name}=`))
  if (at >= 0) rest.splice(at, rest[at] === name && value !== undefined ? 2 : 1)
  return [...rest, name, ...(value === undefined ? [] : [value])]
}

function shown(given: readonly string[]): string {
  return ['underpin', ...given.map(quoteForShell).map(maskSecrets)].join(' ')
}
