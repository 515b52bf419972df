import packageJson from '../../package.json' with { type: 'json' };

/** The version in package.json, bundled at build time. */
export const VERSION: string = packageJson.version;
