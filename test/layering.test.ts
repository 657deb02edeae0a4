import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../src/', import.meta.url))
const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))

/** The files that a file imports, as paths below src/, with `type` imports marked. */
function importsOf(file: string): { path: string; isType: boolean }[] {
  const text = readFileSync(join(root, file), 'utf8')
  const found = text.matchAll(/(?:import|export)\s+(type\s)?[^'"]*?from\s+'(\.[^']+)'/g)
  return [...found].map(([, type, path]) => ({
    path: relative(root, join(root, dirname(file), path as string)),
    isType: type !== undefined,
  }))
}

/** The layer of a file, and the layers that it may import beside itself. */
const laws: readonly { layer: RegExp; may: RegExp }[] = [
  { layer: /^model\//, may: /^(model\/|error\.ts$)/ },
  { layer: /^wrapper\//, may: /^(wrapper\/|model\/|backend\/backend\.ts$|error\.ts$|clock\.ts$)/ },
  {
    layer: /^backend\/sqlite\//,
    may: /^(backend\/(sqlite|sql)\/|backend\/[a-z-]+\.ts$|model\/|error\.ts$|clock\.ts$)/,
  },
  {
    layer: /^backend\/postgres\//,
    may: /^(backend\/(postgres|sql)\/|backend\/[a-z-]+\.ts$|model\/|error\.ts$|clock\.ts$)/,
  },
  {
    layer: /^backend\/sql\//,
    may: /^(backend\/sql\/|backend\/domain-state\.ts$|model\/|error\.ts$|clock\.ts$)/,
  },
  { layer: /^backend\/[a-z-]+\.ts$/, may: /^(backend\/[a-z-]+\.ts$|model\/|error\.ts$|clock\.ts$)/ },
  // An application like any other: the public surface only.
  {
    layer: /^cli\//,
    may: /^(cli\/|index\.ts$|sync\.ts$|conformance\/conformance\.ts$|backend\/(sqlite\/sqlite|postgres\/postgres)\.ts$)/,
  },
  {
    layer: /^testing\//,
    may: /^(testing\/|facet\/|model\/|backend\/(backend|memory)\.ts$|wrapper\/forward\.ts$|error\.ts$|clock\.ts$)/,
  },
  // Repositories of the application's own are moved with facets: their state is in a domain.
  {
    layer: /^move\/repository\//,
    may: /^(move\/repository\/|facet\/|model\/|error\.ts$|clock\.ts$)/,
  },
  { layer: /^move\//, may: /^(move\/|model\/|backend\/backend\.ts$|error\.ts$|clock\.ts$)/ },
  { layer: /^http\//, may: /^(http\/|index\.ts$)/ },
  { layer: /^facet\//, may: /^(facet\/|model\/|error\.ts$|clock\.ts$)/ },
]

describe('the import law', () => {
  for (const file of files) {
    const law = laws.find(({ layer }) => layer.test(file))
    if (law === undefined) continue
    it(`${file} imports only what its layer may`, () => {
      const foreign = importsOf(file).filter(
        ({ path, isType }) => !law.may.test(path) && !(isType && path === 'backend/backend.ts'),
      )
      expect(foreign).toEqual([])
    })
  }

  it('has the text of an import that breaks it recognised', () => {
    expect(laws[0]?.may.test('backend/memory.ts')).toBe(false)
    expect(laws.find(({ layer }) => layer.test('facet/log.ts'))?.may.test('backend/memory.ts')).toBe(false)
  })
})

describe('the shape of the sources', () => {
  it.each(files)('%s has at most 500 lines', (file) => {
    expect(readFileSync(join(root, file), 'utf8').split('\n').length).toBeLessThanOrEqual(500)
  })

  it.each(files)('%s reads the clock, sets timers and draws random numbers only through Clock', (file) => {
    if (file === 'clock.ts') return
    expect(readFileSync(join(root, file), 'utf8')).not.toMatch(
      /Date\.now\(|Math\.random\(|setTimeout\(|setInterval\(/,
    )
  })
})
