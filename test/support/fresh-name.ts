let count = 0;

/** A name nobody has had before in this test file: the second try of a test must not meet what the first one left. */
export function freshName(name: string): string {
  count += 1;
  return `${name}-${count}`;
}
