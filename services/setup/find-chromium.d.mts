export function findChromium(env?: NodeJS.ProcessEnv): Promise<string | undefined>;
export function findOnPath(name: string, env?: NodeJS.ProcessEnv): Promise<string | undefined>;
