import { stringify } from 'yaml';
import { z } from 'zod';
import { configSchema } from './schema.ts';

const HEADER = `# Sluice configuration. Every key with its default; a leading "#" marks keys that have none.
# Generated from services/base/config/schema.ts by "npm run build"; start with: npm start -- --config FILE
`;

type Node = z.core.$ZodType;

/** The documented sample file, generated so that it cannot drift from what the program accepts. */
export function sampleConfig(): string {
  return `${HEADER}\n${keysOf(configSchema).join('\n')}`;
}

function keysOf(schema: z.ZodObject): string[] {
  return Object.entries(schema.shape as Record<string, Node>).map(([key, node]) => block(key, node));
}

/** One key with its description, at column 0; nesting indents the whole block afterwards. */
function block(key: string, node: Node): string {
  const inner = unwrap(node);
  const comment = `# ${describe(node)}\n`;
  if (inner instanceof z.ZodObject) {
    const body = `${key}:\n${prefix(keysOf(inner).join(''), '  ')}`;
    return comment + (node instanceof z.ZodOptional ? prefix(body, '# ') : body);
  }
  const value = defaultOf(node);
  const example = exampleOf(node);
  if (value !== undefined && !(example !== undefined && isEmpty(value))) {
    return comment + stringify({ [key]: value });
  }
  const required = !(node instanceof z.ZodOptional || node instanceof z.ZodDefault);
  return comment + prefix(exampleLines(key, example), required ? '' : '# ');
}

/** Lists on one line, so that it can be uncommented as one. */
function exampleLines(key: string, example: unknown): string {
  return Array.isArray(example)
    ? `${key}: ${stringify(example, { collectionStyle: 'flow', lineWidth: 0 })}`
    : stringify({ [key]: example });
}

function prefix(text: string, mark: string): string {
  return text.replaceAll(/^(?=.)/gm, mark);
}

function unwrap(node: Node): Node {
  if (node instanceof z.ZodOptional || node instanceof z.ZodDefault || node instanceof z.ZodPrefault) {
    return unwrap(node.unwrap());
  }
  return node;
}

function describe(node: Node): string {
  const own = z.globalRegistry.get(node)?.description;
  return (
    own ?? (node instanceof z.ZodOptional || node instanceof z.ZodDefault ? describe(node.unwrap()) : '')
  );
}

function exampleOf(node: Node): unknown {
  return z.globalRegistry.get(node)?.['example'];
}

function defaultOf(node: Node): unknown {
  return node instanceof z.ZodDefault ? node.def.defaultValue : undefined;
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
