/** One finished step on stdout. */
export function say(line: string): void {
  process.stdout.write(`• ${line}\n`);
}

/** A line that overwrites itself on a terminal and is left out elsewhere; '' clears it. */
export function progress(line: string): void {
  if (process.stdout.isTTY) {
    process.stdout.write(`\r\u001b[K${line}`);
  }
}
