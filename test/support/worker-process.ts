import { spawnSluice } from './sluice-child.ts';

export type RoleProcess = {
  readonly pid: number;
  /** `GET /status` of the process. */
  status(): Promise<{ ports: Record<string, number>; urls: Record<string, string>; services: string[] }>;
  /** Where /readyz, /status and /metrics are. */
  readonly healthUrl: string;
  readonly recordingsDir: string;
  log(): string;
  /** Resolves with the exit code once the process is gone. */
  readonly exited: Promise<number | null>;
  signal(name: NodeJS.Signals): void;
  cleanUp(): Promise<void>;
};

/** One role of the built program (dist/main.js serve ROLE) with its own folders, ports chosen by the system. */
export async function startRole(
  role: 'server' | 'ingress' | 'egress',
  config: Record<string, unknown>,
): Promise<RoleProcess> {
  const child = await spawnSluice({ role, config });
  const { url: healthUrl, recordingsDir, log, exited, cleanUp } = child;
  return {
    pid: child.process.pid ?? 0,
    ...{ healthUrl, recordingsDir, log, exited, cleanUp },
    status: async () =>
      (await (await fetch(`${healthUrl}/status`)).json()) as Awaited<ReturnType<RoleProcess['status']>>,
    signal: (name) => child.process.kill(name),
  };
}
