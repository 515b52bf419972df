import { ServiceError } from './base/errors.ts';
import { letHeapGrow } from './base/process/heap-growth.ts';
import { redactText } from './base/redact.ts';
import { UsageError, type CliCommand, type ExitCode } from './cli/command.ts';
import { API_COMMANDS } from './cli/api-commands.ts';
import { demoCommand } from './cli/demo.ts';
import { doctorCommand } from './cli/doctor.ts';
import { rtmpPlatformCommand } from './cli/rtmp-platform.ts';
import { serveCommand } from './cli/serve.ts';
import { joinTokenCommand, pageTokenCommand } from './cli/token.ts';
import { VERSION } from './cli/version.ts';

process.setSourceMapsEnabled(true);
letHeapGrow();

const COMMANDS: readonly CliCommand[] = [
  serveCommand,
  demoCommand,
  doctorCommand,
  joinTokenCommand,
  pageTokenCommand,
  ...API_COMMANDS,
  rtmpPlatformCommand,
];

process.exitCode = await main(process.argv.slice(2));

/** Picks the command by its longest matching name ("room list" before "room") and runs it. */
async function main(argv: string[]): Promise<ExitCode> {
  const [first] = argv;
  if (first === '--version' || first === 'version') {
    process.stdout.write(`sluice ${VERSION}\n`);
    return 0;
  }
  if (first === undefined || first === 'help' || first === '--help' || first === '-h') {
    process.stdout.write(overview());
    return 0;
  }
  const command = [...COMMANDS]
    .sort((a, b) => b.name.length - a.name.length)
    .find(({ name }) => argv.slice(0, name.split(' ').length).join(' ') === name);
  if (command === undefined) {
    process.stderr.write(`unknown command "${argv.slice(0, 2).join(' ')}"\n\n${overview()}`);
    return 2;
  }
  const args = argv.slice(command.name.split(' ').length);
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(`${command.summary}\n\nUsage: ${command.usage}\n`);
    return 0;
  }
  try {
    return await command.run(args);
  } catch (error) {
    return report(error, command);
  }
}

function report(error: unknown, command: CliCommand): ExitCode {
  if (error instanceof UsageError) {
    process.stderr.write(`${error.message}\n\nUsage: ${command.usage}\n`);
    return 2;
  }
  if (error instanceof ServiceError) {
    process.stderr.write(`error: ${redactText(error.message)}\n`);
    return error.blame === 'caller' && error.scope === 'session' ? 2 : 1;
  }
  process.stderr.write(
    `error: ${redactText(error instanceof Error ? (error.stack ?? error.message) : String(error))}\n`,
  );
  return 1;
}

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  const rows = COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `Usage: npm start -- [flags]   or   node services/start.mjs COMMAND [flags]\n\n${rows.join('\n')}\n\nCOMMAND --help tells its flags.\n`;
}
