import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { HOMES, LAYERS } from '../../eslint.config.js';

const root = path.resolve(import.meta.dirname, '..', '..');

/** Files aim at 300 lines; beyond this one surely holds more than one concept. */
const MAX_LINES = 400;
/** What a page and the service that talks to it must agree on. */
const SHARED_WIRE_FORMAT = /-(protocol|framing)\.ts$/;
/** Names that say nothing about what is inside. */
const EMPTY_NAMES = /(^|[-/])(utils?|helpers?|misc|common|manager|stuff)\.[a-z]+$/;

async function sources(folder: string): Promise<string[]> {
  const entries = await readdir(path.join(root, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && /\.(ts|mjs|js)$/.test(entry.name))
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
    .filter((file) => !file.includes('node_modules'));
}

/** Module specifiers of static and dynamic imports and re-exports. */
async function importsOf(file: string): Promise<string[]> {
  const text = await readFile(path.join(root, file), 'utf8');
  const pattern =
    /(?:^|\n)\s*(?:import|export)\b[^'";]*?from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g;
  return [...text.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}

/** services/sfu/transport/x.ts → sfu; files directly in services/ belong to no layer. */
function layerOf(file: string): string | undefined {
  const [top, layer, ...rest] = file.split(path.sep);
  return top === 'services' && rest.length > 0 && layer !== undefined && layer in LAYERS ? layer : undefined;
}

function packageOf(specifier: string): string {
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? '');
}

describe('architecture', async () => {
  const services = await sources('services');
  const layouts = await sources('layouts');
  const templates = await sources('templates');

  it('finds the sources', () => {
    expect(services.length).toBeGreaterThan(60);
    expect(services.map(layerOf)).toContain('sfu');
  });

  it('lets a layer import only what lies below it, and services never each other', async () => {
    const violations: string[] = [];
    for (const file of services) {
      const from = layerOf(file);
      if (from === undefined) {
        continue;
      }
      for (const specifier of await importsOf(file)) {
        if (!specifier.startsWith('.')) {
          continue;
        }
        const target = path.relative(root, path.resolve(root, path.dirname(file), specifier));
        const to = layerOf(target);
        if (to === undefined || (to !== from && !LAYERS[from]?.includes(to))) {
          violations.push(`${file} imports ${target}`);
        }
      }
    }
    expect(violations).toEqual([]);
  });

  it('keeps every third-party package in its home', async () => {
    const violations: string[] = [];
    for (const file of services) {
      const from = file.split(path.sep)[1] ?? '';
      for (const specifier of await importsOf(file)) {
        const home = HOMES[packageOf(specifier)];
        if (home !== undefined && !home.includes(from)) {
          violations.push(`${file} imports ${specifier}, whose home is services/{${home.join(',')}}`);
        }
      }
    }
    expect(violations).toEqual([]);
  });

  it('keeps layouts free of everything, and pages free of services but for shared wire formats', async () => {
    for (const file of layouts) {
      const outside = (await importsOf(file)).filter((specifier) => !specifier.startsWith('.'));
      expect(outside, file).toEqual([]);
    }
    for (const file of templates) {
      const used = await importsOf(file);
      expect(
        used.filter((specifier) => specifier.includes('/services/') && !SHARED_WIRE_FORMAT.test(specifier)),
        file,
      ).toEqual([]);
    }
  });

  it('uses only packages that package.json declares', async () => {
    const manifest = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
      devDependencies: Record<string, string>;
    };
    const undeclared = new Set<string>();
    for (const file of [...services, ...templates]) {
      const isBuild = file.endsWith('.mjs') || file.startsWith('templates');
      for (const specifier of await importsOf(file)) {
        const name = packageOf(specifier);
        const known = name in manifest.dependencies || (isBuild && name in manifest.devDependencies);
        if (!specifier.startsWith('.') && !specifier.startsWith('node:') && !known) {
          undeclared.add(`${file}: ${name}`);
        }
      }
    }
    expect([...undeclared]).toEqual([]);
  });

  it('has files of one concept, named for it', async () => {
    const tooLong: string[] = [];
    for (const file of [...services, ...layouts, ...templates]) {
      const lines = (await readFile(path.join(root, file), 'utf8')).split('\n').length;
      if (lines > MAX_LINES) {
        tooLong.push(`${file}: ${lines} lines`);
      }
      expect(EMPTY_NAMES.test(file), file).toBe(false);
    }
    expect(tooLong).toEqual([]);
  });
});
