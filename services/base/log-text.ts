const OMITTED = new Set(['level', 'time', 'msg', 'service', 'err']);

/** One pino line as a person reads it on a terminal; anything that is not a log line passes through. */
export function formatLogLine(line: string): string {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const { level, time, msg, service, err } = fields;
  const clock = new Date(Number(time)).toTimeString().slice(0, 8);
  const facts = Object.entries(fields)
    .filter(([name]) => !OMITTED.has(name))
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const cause = (err as { message?: string } | undefined)?.message;
  return `${[
    clock,
    String(level).padEnd(5),
    ...(typeof service === 'string' ? [`${service}:`] : []),
    String(msg),
    ...facts,
    ...(cause === undefined ? [] : [`– ${cause}`]),
  ].join(' ')}\n`;
}
