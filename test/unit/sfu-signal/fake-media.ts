import { SafeEmitter } from '../../../services/base/events.ts';
import type {
  DataChannel,
  DataChannelEvents,
  Forwarder,
  ForwarderBinding,
  HeaderExtensionIds,
  LayerFacts,
  LayerStats,
  PeerMedia,
  PeerState,
  PeerTransport,
  PeerTransportEvents,
  Publication,
  PublicationOptions,
} from '../../../services/sfu/media-types.ts';

export class FakePublication implements Publication {
  readonly mid: string;
  readonly kind: 'video' | 'audio';
  readonly codec: PublicationOptions['codec'];
  readonly options: PublicationOptions;
  readonly forwarders = new Set<Forwarder>();
  audioLevel: number | undefined;
  layerStats: LayerStats[] = [];

  constructor(options: PublicationOptions) {
    this.options = options;
    this.mid = options.mid;
    this.kind = options.kind;
    this.codec = options.codec;
  }

  layers(): LayerStats[] {
    return this.layerStats;
  }

  takeAudioLevel(): number | undefined {
    return this.audioLevel;
  }

  inspect(): LayerFacts[] {
    return [];
  }

  requestKeyframe(): void {
    // Nothing to ask.
  }
}

let nextSsrc = 1000;

export class FakeForwarder implements Forwarder {
  readonly ssrc = nextSsrc++;
  readonly rtxSsrc = nextSsrc++;
  readonly publication: Publication;
  binding: ForwarderBinding | undefined;
  currentLayer = -1;
  maxLayer = 2;
  paused = false;
  fractionLost = 0;

  constructor(publication: Publication) {
    this.publication = publication;
  }

  get boundMid(): string | undefined {
    return this.binding?.mid;
  }

  bind(binding: ForwarderBinding): void {
    this.binding = binding;
  }

  unbind(): void {
    this.binding = undefined;
  }

  setMaxLayer(layer: number): void {
    this.maxLayer = layer;
  }

  setPaused(paused: boolean): void {
    this.paused = paused;
  }

  stats(): ReturnType<Forwarder['stats']> {
    return { packets: 0, octets: 0, resent: 0, nacks: 0, plis: 0, fractionLost: this.fractionLost };
  }
}

export class FakePeerMedia implements PeerMedia {
  readonly extensions: HeaderExtensionIds = {
    mid: 0,
    rid: 0,
    repairedRid: 0,
    transportCc: 0,
    absSendTime: 0,
    audioLevel: 0,
    dependencyDescriptor: 0,
  };
  readonly publications = new Map<string, FakePublication>();
  readonly forwarders = new Set<FakeForwarder>();
  availableOutgoingKbps = 0;

  addPublication(options: PublicationOptions): Publication {
    const publication = new FakePublication(options);
    this.publications.set(options.mid, publication);
    return publication;
  }

  removePublication(mid: string): void {
    this.publications.delete(mid);
  }

  publication(mid: string): Publication | undefined {
    return this.publications.get(mid);
  }

  createForwarder(publication: Publication): Forwarder {
    const forwarder = new FakeForwarder(publication);
    this.forwarders.add(forwarder);
    return forwarder;
  }

  flush(): void {
    return undefined;
  }

  removeForwarder(forwarder: Forwarder): void {
    for (const own of this.forwarders) {
      if (own.ssrc === forwarder.ssrc) {
        this.forwarders.delete(own);
      }
    }
  }

  stats(): ReturnType<PeerMedia['stats']> {
    return { packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0, decryptFailures: 0 };
  }
}

export class FakeDataChannel implements DataChannel {
  readonly label: string;
  readonly events = new SafeEmitter<DataChannelEvents>();
  readonly sent: Uint8Array[] = [];
  isOpen = true;
  bufferedBytes = 0;

  constructor(label: string) {
    this.label = label;
  }

  send(data: Uint8Array): void {
    this.sent.push(data);
  }
}

export class FakeTransport implements PeerTransport {
  state: PeerState = 'new';
  readonly failure: undefined;
  localUfrag = 'ufragOne';
  readonly localPwd = 'a-local-password-of-24-ch';
  readonly localFingerprint = Array.from({ length: 32 }, () => 'AB').join(':');
  readonly candidates = ['candidate:1 1 udp 2130706431 127.0.0.1 7882 typ host'];
  readonly media = new FakePeerMedia();
  readonly events = new SafeEmitter<PeerTransportEvents>();
  readonly remotes: { ufrag: string; fingerprint: string }[] = [];

  setRemote(remote: { ufrag: string; fingerprint: string }): Promise<void> {
    this.remotes.push(remote);
    return Promise.resolve();
  }

  openDataChannel(label: string): DataChannel {
    return new FakeDataChannel(label);
  }

  connect(): void {
    this.state = 'connected';
    this.events.emit('state', 'connected');
  }

  /** The client opens a channel. */
  openFromClient(label: string): FakeDataChannel {
    const channel = new FakeDataChannel(label);
    this.events.emit('dataChannel', channel);
    return channel;
  }

  close(): Promise<void> {
    this.state = 'closed';
    return Promise.resolve();
  }
}
