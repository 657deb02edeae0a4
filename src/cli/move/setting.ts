/** Settings of a move, given as `name=value`: `maxRate=5000`, `gates.soakMs=60000`, `mirror=await`. */
import { InvalidArgumentError } from 'commander'
import {
  changeSettings,
  defaultSettings,
  type MoveSettings,
  type SettingsChange,
  UnderpinError,
} from '../../index.ts'

export type Setting = readonly [name: string, value: number | string | null]

/** For an option or argument that may be given several times. */
export function addSetting(text: string, before: readonly Setting[] = []): readonly Setting[] {
  const [, name, value] = /^([\w.]+)=(.*)$/s.exec(text) ?? []
  if (name === undefined || value === undefined)
    throw new InvalidArgumentError('It must be name=value, for example maxRate=5000 or gates.lag=100.')
  return [...before, [name, parsed(value)]]
}

/** The change that they are; `invalid` if there is no such setting, or it takes no such value. */
export function changeOf(given: readonly Setting[]): SettingsChange {
  const change = toChange(given) as SettingsChange
  changeSettings(defaultSettings, change)
  return change
}

function toChange(given: readonly Setting[]): Readonly<Record<string, unknown>> {
  const change: Record<string, unknown> = {}
  const gates: Record<string, unknown> = {}
  for (const [name, value] of given) {
    const [outer = '', inner, ...more] = name.split('.')
    if (more.length > 0 || (inner !== undefined && outer !== 'gates'))
      throw new UnderpinError('invalid', `A move has no setting ${JSON.stringify(name)}`)
    if (inner === undefined) change[outer] = value
    else gates[inner] = value
  }
  return Object.keys(gates).length === 0 ? change : { ...change, gates }
}

/** Each setting with its value, as it can be given. */
export function settingLines({ gates, ...settings }: MoveSettings): string[] {
  const limits = Object.entries(gates).map(([name, value]) => [`gates.${name}`, value] as const)
  return [...Object.entries(settings), ...limits].map(([name, value]) => `${name}=${value}`)
}

function parsed(text: string): Setting[1] {
  if (text === 'null') return null
  const value = Number(text)
  return text.trim() !== '' && Number.isFinite(value) ? value : text
}
