import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

/** base ← model ← {protocol, media} ← {bus, rtc-client} ← {sfu, ingress, egress, api} ← cli/main. */
const LAYERS = {
  base: [],
  model: ['base'],
  protocol: ['base', 'model'],
  media: ['base', 'model'],
  bus: ['base', 'model', 'protocol', 'media'],
  'rtc-client': ['base', 'model', 'protocol', 'media'],
  sfu: ['base', 'model', 'protocol', 'media', 'bus', 'rtc-client'],
  ingress: ['base', 'model', 'protocol', 'media', 'bus', 'rtc-client'],
  egress: ['base', 'model', 'protocol', 'media', 'bus', 'rtc-client'],
  api: ['base', 'model', 'protocol', 'media', 'bus', 'rtc-client'],
};

/** Third-party package → the only folders under services/ that may import it. */
const HOMES = {
  ioredis: ['bus'],
  werift: ['sfu', 'rtc-client'],
  puppeteer: ['egress'],
  '@aws-sdk/client-s3': ['egress'],
  '@aws-sdk/lib-storage': ['egress'],
  'node-media-server': ['cli'],
  'fluent-ffmpeg': ['media'],
  '@ffmpeg-installer/ffmpeg': ['media'],
  mediabunny: ['media'],
  'opus-decoder': ['media'],
  fastify: ['base', 'api'],
  jose: ['protocol'],
  ws: ['base', 'sfu', 'rtc-client', 'egress'],
  yaml: ['base'],
  'prom-client': ['base'],
  pino: ['base'],
};

const layerRules = Object.entries(LAYERS).map(([layer, allowed]) => ({
  files: [`services/${layer}/**/*.ts`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          ...Object.keys(LAYERS)
            .filter((other) => other !== layer && !allowed.includes(other))
            .map((other) => ({
              regex: `^(\\.\\./)+${other}/`,
              message: `services/${layer} may not import services/${other} (ARCHITECTURE.md)`,
            })),
          ...Object.entries(HOMES)
            .filter(([, homes]) => !homes.includes(layer))
            .map(([name, homes]) => ({
              regex: `^${name}($|/)`,
              message: `${name} lives in services/{${homes.join(',')}} only`,
            })),
        ],
      },
    ],
  },
}));

export { LAYERS, HOMES };

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', 'recordings/**', '**/*.cjs', '.cache/**'] },
  eslint.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        project: ['./tsconfig.json', './templates/tsconfig.json'],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      curly: 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/consistent-type-definitions': ['error', 'type'],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      'no-restricted-syntax': ['error', { selector: 'TSEnumDeclaration', message: 'use a union type' }],
    },
  },
  ...layerRules,
  {
    files: ['**/*.mjs', '**/*.js'],
    ...tseslint.configs.disableTypeChecked,
    languageOptions: {
      ...tseslint.configs.disableTypeChecked.languageOptions,
      globals: {
        process: 'readonly',
        console: 'readonly',
        Buffer: 'readonly',
        setTimeout: 'readonly',
        fetch: 'readonly',
        URL: 'readonly',
      },
    },
  },
);
