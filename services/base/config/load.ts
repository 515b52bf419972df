import { readFile } from 'node:fs/promises';
import { parseDocument } from 'yaml';
import type { z } from 'zod';
import { messageOf, ServiceError } from '../errors.ts';
import { configFromEnv, type ConfigOverride, type Environment } from './env.ts';
import { configSchema, PLANNED_KEYS, type Config } from './schema.ts';

/** LiveKit's placeholder pair. Everybody knows it, so the server keeps to this machine while it is in use. */
export const DEV_KEY = 'devkey';
export const DEV_SECRET = 'secret';

export type LoadedConfig = {
  config: Config;
  /** True while the public development keys are in use. */
  devKeys: boolean;
  /** Where the file part came from, for the start-up log: a path, "LIVEKIT_CONFIG" or "defaults". */
  source: string;
};

export type LoadOptions = {
  /** Path of a YAML file (`--config`). */
  file?: string;
  env: Environment;
  /** Command-line flags; they win over the environment. */
  overrides?: readonly ConfigOverride[];
};

/**
 * Reads the YAML (file, else LIVEKIT_CONFIG, else nothing), applies the environment, then the flags, and
 * validates. @throws ServiceError invalid_argument naming the source and the path of every bad key.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const { text, source } = await readSource(options);
  const tree = parseTree(text, source);
  const overrides = [...configFromEnv(options.env), ...(options.overrides ?? [])];
  for (const override of overrides) {
    setPath(tree, override);
  }
  const config = withSingleKey(validate(tree, source), source);
  const devKeys = Object.keys(config.keys).length === 0 || config.keys[DEV_KEY] === DEV_SECRET;
  const keys = Object.keys(config.keys).length === 0 ? { [DEV_KEY]: DEV_SECRET } : config.keys;
  const bindAddresses =
    config.bind_addresses.length > 0 ? config.bind_addresses : [devKeys ? '127.0.0.1' : '0.0.0.0'];
  return { config: { ...config, keys, bind_addresses: bindAddresses }, devKeys, source };
}

/** LiveKit's workers have one key pair of their own; here it is one of "keys". */
function withSingleKey(config: Config, source: string): Config {
  const { api_key: key, api_secret: secret } = config;
  if ((key === undefined) !== (secret === undefined)) {
    const missing = key === undefined ? 'api_key' : 'api_secret';
    throw new ServiceError('invalid_argument', `${source}: ${missing}: missing`);
  }
  return key === undefined || secret === undefined
    ? config
    : { ...config, keys: { [key]: secret, ...config.keys } };
}

async function readSource(options: LoadOptions): Promise<{ text: string; source: string }> {
  if (options.file !== undefined) {
    try {
      return { text: await readFile(options.file, 'utf8'), source: options.file };
    } catch (error) {
      throw new ServiceError(
        'invalid_argument',
        `cannot read the config file ${options.file}: ${messageOf(error)}`,
      );
    }
  }
  const body = options.env['LIVEKIT_CONFIG'];
  return body !== undefined && body !== ''
    ? { text: body, source: 'LIVEKIT_CONFIG' }
    : { text: '', source: 'defaults' };
}

function parseTree(text: string, source: string): Record<string, unknown> {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) {
    throw new ServiceError(
      'invalid_argument',
      `${source}: not valid YAML: ${error.message.split('\n')[0] ?? ''}`,
    );
  }
  const tree: unknown = document.toJS({ maxAliasCount: 50 });
  if (tree === null || tree === undefined) {
    return {};
  }
  if (typeof tree !== 'object' || Array.isArray(tree)) {
    throw new ServiceError('invalid_argument', `${source}: expected a mapping of keys at the top level`);
  }
  return tree as Record<string, unknown>;
}

function setPath(tree: Record<string, unknown>, { path, value }: ConfigOverride): void {
  let node = tree;
  for (const key of path.slice(0, -1)) {
    const next = node[key];
    const child =
      typeof next === 'object' && next !== null && !Array.isArray(next)
        ? (next as Record<string, unknown>)
        : {};
    node[key] = child;
    node = child;
  }
  node[path.at(-1) ?? ''] = value;
}

function validate(tree: Record<string, unknown>, source: string): Config {
  for (const [key, reason] of Object.entries(PLANNED_KEYS)) {
    if (key in tree) {
      throw new ServiceError('invalid_argument', `${source}: ${reason}`);
    }
  }
  const result = configSchema.safeParse(tree);
  if (!result.success) {
    const problems = result.error.issues.flatMap(describeIssue);
    throw new ServiceError('invalid_argument', `${source}: ${problems.join('; ')}`);
  }
  return result.data;
}

function describeIssue(issue: z.core.$ZodIssue): string[] {
  const at = (extra: PropertyKey[]): string => [...issue.path, ...extra].map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${at([key])}: unknown key (docker/config.sample.yaml lists all keys)`);
  }
  return [`${at([])}: ${issue.message}`];
}
