import {
  CAPABILITIES,
  INGRESS,
  SOURCES,
  STORED_OUTPUTS,
  STORES,
  STREAMS,
  type Proof,
  type Source,
  type Store,
  type StoredOutput,
  type Stream,
} from './capability-matrix.ts';

const MATRIX_TEST = 'test/e2e/capability-matrix.test.ts';
const NOTHING = '–';

/** Proofs in order of appearance; the number is what the cells show. */
class Notes {
  readonly #numbers = new Map<string, number>();

  mark(proof: Proof): string {
    const text =
      proof === 'here'
        ? `${linkTo(MATRIX_TEST)}, by name`
        : `${linkTo(proof.file)}: ${proof.test.replace(/%s|\$\w+/g, '…')}`;
    const number = this.#numbers.get(text) ?? this.#numbers.size + 1;
    this.#numbers.set(text, number);
    return `<sup>${number}</sup>`;
  }

  lines(): string[] {
    return [...this.#numbers].map(([text, number]) => `${number}. ${text}`);
  }
}

const linkTo = (file: string): string => `[${file}](${file})`;

/** The part of README.md between its `capabilities` marks, as Prettier writes Markdown. */
export function renderCapabilities(): string {
  const notes = new Notes();
  const egress = table(
    ['Egress', ...Object.values(STORED_OUTPUTS), ...Object.values(STREAMS)],
    keysOf(SOURCES).map((source) => [
      SOURCES[source],
      ...keysOf(STORED_OUTPUTS).map((output) => storedCell(source, output, notes)),
      ...keysOf(STREAMS).map((stream) => streamCell(source, stream, notes)),
    ]),
  );
  const ingress = table(
    ['Ingress', 'as it is', 'transcoded'],
    INGRESS.map(({ title, passthrough, transcode }) => [
      title,
      ...[passthrough, transcode].map((proof) => (proof === undefined ? NOTHING : `✓${notes.mark(proof)}`)),
    ]),
  );
  return [
    ...egress,
    '',
    ...ingress,
    '',
    `Every ✓ names the test that decodes its result. Egress: ${NOTHING} is refused with a word why; rooms and pages are meant with`,
    'their picture, OGG holds sound only, streams and segments carry H.264 and AAC, and all outputs of a job come from one',
    `encode. Ingress: ${NOTHING} has no test.`,
    '',
    ...notes.lines(),
  ].join('\n');
}

function storedCell(source: Source, output: StoredOutput, notes: Notes): string {
  const proofs = CAPABILITIES[source].stored[output] ?? {};
  const cells = keysOf(STORES).flatMap((store: Store) => {
    const proof = proofs[store];
    return proof === undefined ? [] : [`${STORES[store]}${notes.mark(proof)}`];
  });
  return cells.length === 0 ? NOTHING : `✓ ${cells.join(' ')}`;
}

function streamCell(source: Source, stream: Stream, notes: Notes): string {
  const proof = CAPABILITIES[source].streams[stream];
  return proof === undefined ? NOTHING : `✓${notes.mark(proof)}`;
}

function table(head: string[], rows: string[][]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(3, ...all.map((row) => (row[column] ?? '').length)));
  const line = (cells: string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)];
}

function keysOf<T extends object>(table: T): (keyof T)[] {
  return Object.keys(table) as (keyof T)[];
}
