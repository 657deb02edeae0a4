/** Settings: JSON values by key. */
import { isDeepStrictEqual } from 'node:util'
import type { CommandOf } from '../command.ts'
import { Refusal } from '../refusal.ts'
import type { DeskState } from '../state.ts'
import type { Decision } from './decision.ts'

export function setSetting({ settings }: DeskState, { key, value }: CommandOf<'setting.set'>): Decision {
  if (settings.has(key) && isDeepStrictEqual(settings.get(key), value)) return { events: [] }
  return { events: [{ type: 'setting.changed', data: { key, value } }] }
}

export function removeSetting({ settings }: DeskState, { key }: CommandOf<'setting.remove'>): Decision {
  if (!settings.has(key)) throw new Refusal('not-found', `There is no setting ${key}`)
  return { events: [{ type: 'setting.removed', data: { key } }] }
}
