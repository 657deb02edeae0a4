/** Text of any origin as far as it can be kept: well-formed, without NUL, of at most so many characters. */
export function fitText(text: string, most: number): string {
  return text.slice(0, most).toWellFormed().replaceAll('\0', '')
}
