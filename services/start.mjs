// The way in: `npm start` and `npm run demo`. Plain JavaScript without dependencies, because on a fresh machine
// nothing is installed yet. It prepares what is missing, then runs the built program in this very process, so
// signals reach the program directly and nothing is left behind.
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `Sluice needs Node.js 20.19 or newer; this is ${process.versions.node}. https://nodejs.org has it.`,
  );
  process.exit(1);
}
try {
  const { prepare } = await import('./setup/prepare.mjs');
  await prepare({ tools: needsTools(process.argv.slice(2)) ? 'wanted' : 'skip' });
} catch (error) {
  console.error(`set-up failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}
await import('../dist/main.js');

/** Only the commands that run media need ffmpeg and Chromium; `room list` must not install anything. */
function needsTools(argv) {
  const asksForHelp = argv.includes('--help') || argv.includes('-h');
  const isServerAlone = argv[0] === 'serve' && argv[1] === 'server';
  return ['serve', 'demo'].includes(argv[0]) && !isServerAlone && !asksForHelp;
}
