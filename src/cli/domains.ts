/** The domains of an application, from the module that it gives to `openStore` as well. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type DomainOptions, isUnderpinError, UnderpinError } from '../index.ts'
import { parseJson, unreadable } from './input.ts'

/** The export `domains` of a module, or its default export; of a JSON file, its value. */
export async function loadDomains(path: string): Promise<Readonly<Record<string, DomainOptions>>> {
  const found = path.endsWith('.json') ? await readJsonFile(path) : await importDomains(path)
  if (isRecord(found) && Object.values(found).every(isRecord))
    return found as Readonly<Record<string, DomainOptions>>
  throw new UnderpinError('invalid', `${path} gives no domains`, {
    hint: 'Export what openStore is given: export const domains = { orders: { collections: {} } }, or as the default export.',
  })
}

async function readJsonFile(path: string): Promise<unknown> {
  try {
    return parseJson(await readFile(path, 'utf8'))
  } catch (error) {
    throw isUnderpinError(error) ? error : unreadable(path, error)
  }
}

async function importDomains(path: string): Promise<unknown> {
  try {
    const module = await import(pathToFileURL(resolve(path)).href)
    // A compiled CommonJS module keeps its own default export one step further down.
    const isCompiled = module.default?.__esModule === true
    return module.domains ?? (isCompiled ? module.default.default : module.default)
  } catch (cause) {
    const isTypeScript = (cause as { code?: string }).code === 'ERR_UNKNOWN_FILE_EXTENSION'
    throw new UnderpinError('invalid', `${path} cannot be loaded: ${(cause as Error).message}`, {
      hint: isTypeScript
        ? 'This version of Node takes no TypeScript (22.18 or later does): give the compiled file.'
        : 'Give the path of a module that exports the domains, or of a JSON file.',
      cause,
    })
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
