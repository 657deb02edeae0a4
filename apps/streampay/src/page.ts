/** A page that shows the OpenAPI document and tries its operations: one file, nothing from anywhere else. */
import { openapi } from './openapi.ts'

const style = `
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  details { border: 1px solid #8884; border-radius: .5rem; margin: .5rem 0; padding: .5rem 1rem }
  summary { cursor: pointer } summary code { font-weight: 600 }
  .get { color: #27a } .post { color: #a52 }
  table { border-collapse: collapse; width: 100% } td { border-top: 1px solid #8883; padding: .25rem .5rem; vertical-align: top }
  textarea { width: 100%; min-height: 6rem } textarea, input, pre, code { font-family: ui-monospace, monospace }
  pre { overflow: auto; background: #8881; padding: .5rem }
  form label { display: block; margin: .25rem 0 } form input { width: 24rem; max-width: 100% }`

/** Runs in the browser: a form for each operation, sent with fetch. */
const script = `
  for (const form of document.querySelectorAll('form')) form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const out = form.querySelector('pre')
    let path = form.dataset.path
    const headers = {}, query = new URLSearchParams()
    for (const { dataset, name, value } of form.querySelectorAll('input')) {
      if (value === '') continue
      if (dataset.in === 'path') path = path.replace('{' + name + '}', encodeURIComponent(value))
      else if (dataset.in === 'query') query.set(name, value)
      else headers[name] = value
    }
    const body = form.querySelector('textarea')?.value
    if (body) headers['content-type'] = 'application/json'
    const response = await fetch(path + (query.size ? '?' + query : ''), { method: form.dataset.method, headers, ...(body ? { body } : {}) })
    const text = await response.text()
    const shown = ['etag', 'location', 'idempotency-replayed'].flatMap((name) => response.headers.has(name) ? [name + ': ' + response.headers.get(name)] : [])
    out.textContent = [response.status + ' ' + response.statusText, ...shown, '', text].join('\\n')
  })
  for (const input of document.querySelectorAll('input[name=Idempotency-Key]')) input.value = crypto.randomUUID()`

interface Parameter {
  readonly name: string
  readonly in: string
  readonly required?: boolean
  readonly description?: string
}

interface Operation {
  readonly summary: string
  readonly parameters?: readonly (Parameter | { readonly $ref: string })[]
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: object } } }
  readonly responses: Readonly<Record<string, { readonly description: string }>>
}

/** The page, made once when the process starts. */
export function renderPage(): string {
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${openapi.info.title}</title><style>${style}</style>
<h1>${openapi.info.title}</h1><p>${escapeHtml(openapi.info.description)}</p>
<p>The document itself: <a href="/openapi.json">openapi.json</a></p>
${Object.entries(openapi.paths).flatMap(operationsOf).join('\n')}
<h2>Schemas</h2>
${Object.entries(openapi.components.schemas).map(schemaHtml).join('\n')}
<script>${script}</script></html>`
}

function operationsOf([path, methods]: [string, object]): string[] {
  return Object.entries(methods as Record<string, Operation>).map(([method, operation]) =>
    operationHtml(method, path, operation),
  )
}

function operationHtml(method: string, path: string, operation: Operation): string {
  const fields = (operation.parameters ?? []).map((given) => fieldHtml(resolve(given)))
  const schema = operation.requestBody?.content['application/json'].schema
  const body =
    schema === undefined ? '' : `<label>Body <textarea>${escapeHtml(exampleOf(schema))}</textarea></label>`
  const rows = Object.entries(operation.responses).map(
    ([status, { description }]) => `<tr><td>${status}<td>${escapeHtml(description)}`,
  )
  return `<details><summary><code class="${method}">${method.toUpperCase()} ${path}</code> ${escapeHtml(operation.summary)}</summary>
<form data-method="${method.toUpperCase()}" data-path="${path}">${fields.join('')}${body}<button>Send</button><pre></pre></form>
<table>${rows.join('')}</table></details>`
}

function fieldHtml({ name, in: place, required = false, description = '' }: Parameter): string {
  const needed = required ? ' required' : ''
  return `<label>${name} <input name="${name}" data-in="${place}"${needed} title="${escapeHtml(description)}"></label>`
}

function resolve(given: Parameter | { readonly $ref: string }): Parameter {
  if (!('$ref' in given)) return given
  const name = given.$ref.split('/').at(-1) as keyof typeof openapi.components.parameters
  return openapi.components.parameters[name]
}

const examples: Readonly<Record<string, object>> = {
  Terms: {
    sender: 'wallet-ada',
    recipient: 'wallet-bob',
    currency: 'EUR',
    deposit: 100_000,
    ratePerHour: 3_600,
  },
  Withdrawal: { amount: 1 },
  ExportRequest: { kind: 'streams', format: 'csv' },
}

function exampleOf(schema: object): string {
  const name =
    'ref' in schema || '$ref' in schema
      ? String((schema as { $ref: string }).$ref)
          .split('/')
          .at(-1)
      : ''
  return JSON.stringify(examples[name ?? ''] ?? {}, null, 2)
}

function schemaHtml([name, schema]: [string, unknown]): string {
  return `<details><summary><code>${name}</code></summary><pre>${escapeHtml(JSON.stringify(schema, null, 2))}</pre></details>`
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
