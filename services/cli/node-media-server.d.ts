/** The part of node-media-server 4.4 that the RTMP platform uses; the package ships no types. */
declare module 'node-media-server' {
  type Session = { id: string; streamPath: string };
  export default class NodeMediaServer {
    constructor(config: {
      bind: string;
      rtmp: { port: number };
      store?: { path: string };
      record?: { path: string };
      auth?: { play: boolean; publish: boolean };
    });
    readonly relayServer: {
      addTask(task: { url: string; mode: 'push'; streamPath: string; reconnect: boolean }): unknown;
    };
    on(event: 'postPublish' | 'donePublish', listener: (session: Session) => void): void;
    run(): Promise<void>;
    stop(): Promise<void>;
  }
}
