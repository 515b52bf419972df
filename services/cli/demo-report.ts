import { pathToFileURL } from 'node:url';
import { checkMedia } from './demo-check.ts';
import type { DemoResult, FinishedJob } from './demo-act.ts';
import type { Tools } from './tools.ts';

/** One line of the table. */
export type DemoRow = {
  what: string;
  /** "from → to" */
  route: string;
  facts: string[];
  /** Empty = ok. */
  problems: string[];
  files: string[];
};

const HEADS = ['what', 'from → to', 'found in it', 'result'] as const;

/** Looks into everything a job has left behind; a job without results is a line, too. */
export async function rowsOf(tools: Tools, job: FinishedJob): Promise<DemoRow[]> {
  const rows: DemoRow[] = [];
  for (const result of job.results) {
    rows.push({ what: job.what, ...(await checkResult(tools, result)) });
  }
  if (job.problems.length > 0) {
    const [first] = rows;
    if (first === undefined) {
      return [{ what: job.what, route: '', facts: [], problems: job.problems, files: [] }];
    }
    first.problems.push(...job.problems);
  }
  return rows;
}

async function checkResult(tools: Tools, result: DemoResult): Promise<Omit<DemoRow, 'what'>> {
  const { route, files, expected } = result;
  const findings = await Promise.all(files.map((file) => checkMedia(tools, file, expected)));
  const problems = findings.flatMap((finding) => finding.problems);
  return {
    route,
    facts: [...(files.length > 1 ? [`${files.length} files`] : []), ...(findings[0]?.facts ?? [])],
    problems: files.length === 0 ? ['there is no file'] : [...new Set(problems)],
    files,
  };
}

/** The table at the end of the demo, and where everything is. */
export function demoReport(rows: readonly DemoRow[], links: ReadonlyMap<string, string>): string {
  const cells = rows.map((row) => [
    row.what,
    row.route,
    row.facts.join(', '),
    row.problems.length === 0 ? 'ok' : 'FAILED',
  ]);
  const widths = HEADS.map((head, column) =>
    Math.max(head.length, ...cells.map((line) => line[column]?.length ?? 0)),
  );
  const lineOf = (line: readonly string[]): string =>
    `  ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ')}`.trimEnd();
  const table = [
    lineOf(HEADS),
    lineOf(widths.map((width) => '─'.repeat(width))),
    ...cells.flatMap((line, index) => [
      lineOf(index > 0 && cells[index - 1]?.[0] === line[0] ? ['', ...line.slice(1)] : line),
      ...(rows[index]?.problems ?? []).map((problem) => `      ! ${problem}`),
    ]),
  ];
  return [...table, '', ...linkLines(rows, links)].join('\n') + '\n';
}

/** On a terminal every path is a link: to the server if it plays the file, else to the file. */
function linkLines(rows: readonly DemoRow[], links: ReadonlyMap<string, string>): string[] {
  return rows.flatMap(({ files: [file, ...others] }) => {
    if (file === undefined) {
      return [];
    }
    const more = others.length > 0 ? `  (and ${others.length} more)` : '';
    return [`  ${hyperlink(file, links.get(file) ?? pathToFileURL(file).href)}${more}`];
  });
}

/** OSC 8, understood by most terminals; the others show the text. */
function hyperlink(text: string, url: string): string {
  return process.stdout.isTTY ? `\u001b]8;;${url}\u001b\\${text}\u001b]8;;\u001b\\` : text;
}
