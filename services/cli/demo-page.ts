import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { DemoRow } from './demo-report.ts';

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.5rem .8rem .5rem 0;border-bottom:1px solid #d9e0e7}
video,img{width:15rem;border-radius:6px;background:#000;display:block}
img{display:inline-block;width:7rem;margin-right:.3rem}
.ok{color:#1a7f4b}.bad{color:#b3261e}`;

/**
 * Writes the table with everything playable beside the recordings, for a browser without a server.
 * @param folder part of the path of every file of this run. @returns the page; undefined when nothing was recorded here.
 */
export async function writeDemoPage(rows: readonly DemoRow[], folder: string): Promise<string | undefined> {
  const inside = `${path.sep}${path.normalize(folder)}${path.sep}`;
  const file = rows.flatMap((row) => row.files).find((candidate) => candidate.includes(inside));
  if (file === undefined) {
    return undefined;
  }
  const runFolder = file.slice(0, file.indexOf(inside) + inside.length);
  const page = path.join(runFolder, 'index.html');
  const body = rows.map((row) => tableRow(row, runFolder)).join('\n');
  await writeFile(
    page,
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sluice demo</title><style>${STYLE}</style>
<h1>Sluice demo</h1>
<table><tr><th>What<th>From → to<th>Found in it<th>Result<th>See for yourself</tr>
${body}
</table></html>\n`,
  );
  return page;
}

function tableRow({ what, route, facts, problems, files }: DemoRow, runFolder: string): string {
  const result =
    problems.length === 0
      ? '<b class="ok">ok</b>'
      : `<b class="bad">FAILED</b> ${escape(problems.join('; '))}`;
  const cells = [escape(what), escape(route), escape(facts.join(', ')), result];
  const media = files.map((file) => mediaElement(path.relative(runFolder, file))).join(' ');
  return `<tr>${[...cells, media].map((cell) => `<td>${cell}`).join('')}</tr>`;
}

/** What browsers play is shown; HLS and FLV are for players such as VLC and ffplay. */
function mediaElement(name: string): string {
  const source = name.split(path.sep).map(encodeURIComponent).join('/');
  const link = `<a href="${source}">${escape(name)}</a>`;
  switch (path.extname(name)) {
    case '.mp4':
      return `<video controls preload="metadata" src="${source}"></video>${link}`;
    case '.ogg':
      return `<audio controls preload="metadata" src="${source}"></audio><br>${link}`;
    case '.jpeg':
      return `<a href="${source}"><img alt="" src="${source}"></a>`;
    default:
      return link;
  }
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
