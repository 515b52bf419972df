export type BrowserFlagOptions = {
  width: number;
  height: number;
  profileDir: string;
  /** Title of the tab that getDisplayMedia captures without a picker. */
  captureTabTitle: string;
  /** Chrome's sandbox refuses to run as root. */
  isRoot: boolean;
  /** Size of /dev/shm; Docker's default of 64 MB is too small for Chrome. */
  sharedMemoryBytes: number | undefined;
};

const MIN_SHARED_MEMORY_BYTES = 256 * 1024 * 1024;

const COMMON = [
  // Software compositing is the cheapest here; SwiftShader's GL costs more than a core.
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--no-default-browser-check',
  '--disable-default-apps',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-breakpad',
  '--disable-crash-reporter',
  '--disable-client-side-phishing-detection',
  '--metrics-recording-only',
  '--password-store=basic',
  '--use-mock-keychain',
  '--autoplay-policy=no-user-gesture-required',
  // A tab that nobody looks at must run at full speed.
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
  '--disable-hang-monitor',
  '--force-device-scale-factor=1',
  '--force-color-profile=srgb',
  '--hide-scrollbars',
  '--lang=en-US',
  // Rooms on this very machine: a page from elsewhere may reach them, and media may run over loopback.
  '--allow-loopback-in-peer-connection',
  '--disable-features=LocalNetworkAccessChecks,Translate,MediaRouter,OptimizationHints,DialMediaRouteProvider',
] as const;

/** Puppeteer's own defaults that would silence the page or change how it renders. */
export const UNWANTED_DEFAULTS = [
  '--mute-audio',
  '--disable-extensions',
  '--enable-automation',
  '--enable-blink-features=IdleDetection',
];

/** The command line of one capture browser. */
export function browserFlags(options: BrowserFlagOptions): string[] {
  const { width, height, profileDir, captureTabTitle, isRoot, sharedMemoryBytes } = options;
  return [
    ...COMMON,
    `--user-data-dir=${profileDir}`,
    `--window-size=${width},${height}`,
    '--window-position=0,0',
    `--auto-select-tab-capture-source-by-title=${captureTabTitle}`,
    ...(isRoot ? ['--no-sandbox'] : []),
    ...(sharedMemoryBytes !== undefined && sharedMemoryBytes < MIN_SHARED_MEMORY_BYTES
      ? ['--disable-dev-shm-usage']
      : []),
  ];
}
