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
const { prepare } = await import('./setup/prepare.mjs');
await prepare({ purpose: 'run' });
await import('../dist/main.js');
