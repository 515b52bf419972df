import { readU16, readU32 } from './bytes.ts';
import { ReplayWindow } from './replay-window.ts';
import { openGcm, packetAad } from './srtp-cipher.ts';
import { AesCm } from './srtp-cm.ts';
import { SRTP_PROFILES, type SrtpDirectionKeys } from './srtp-keys.ts';

/** SSRCs with replay state per peer; more are refused, evicting one would forget what it must not replay. */
const MAX_SSRCS = 1024;
/** RFC 3711 §9.2: a key must not protect more than 2^48 RTP packets. */
const MAX_ROLLOVER = 0xffff_ffff;
const E_BIT = 0x8000_0000;

type InboundSsrc = { rtp: ReplayWindow; rtcp: ReplayWindow };

export type SrtpReceiverCounters = { authFailures: number; replays: number; malformed: number };

/** Decrypts and authenticates what one remote sends (RFC 3711, RFC 7714). Never throws on input. */
export class SrtpReceiver {
  readonly counters: SrtpReceiverCounters = { authFailures: 0, replays: 0, malformed: 0 };
  readonly #keys: SrtpDirectionKeys;
  /** Undefined with GCM. */
  readonly #cm: { rtp: AesCm; rtcp: AesCm } | undefined;
  readonly #tagLength: number;
  readonly #ssrcs = new Map<number, InboundSsrc>();

  constructor(keys: SrtpDirectionKeys) {
    this.#keys = keys;
    this.#cm =
      keys.profile === 'AEAD_AES_128_GCM'
        ? undefined
        : { rtp: new AesCm(keys.rtp), rtcp: new AesCm(keys.rtcp) };
    this.#tagLength = SRTP_PROFILES[keys.profile].tagLength;
  }

  /**
   * Returns the decrypted payload (RTP padding still on it) in memory of its own, or undefined when the packet is not
   * authentic, replayed or too old. `headerLength` comes from rtpHeaderLength().
   */
  unprotectRtp(packet: Buffer, headerLength: number): Buffer | undefined {
    const payloadEnd = packet.length - this.#tagLength;
    if (headerLength < 12 || payloadEnd < headerLength) {
      this.counters.malformed += 1;
      return undefined;
    }
    const sequenceNumber = readU16(packet, 2);
    const ssrc = readU32(packet, 8);
    const known = this.#ssrcs.get(ssrc);
    const rollover =
      known === undefined || known.rtp.highest < 0 ? 0 : estimateRollover(known.rtp.highest, sequenceNumber);
    if (rollover < 0 || rollover > MAX_ROLLOVER) {
      this.counters.malformed += 1;
      return undefined;
    }
    const index = rollover * 0x1_0000 + sequenceNumber;
    if (known === undefined ? this.#ssrcs.size >= MAX_SSRCS : !known.rtp.accepts(index)) {
      this.counters.replays += 1;
      return undefined;
    }
    let payload: Buffer | undefined;
    if (this.#cm === undefined) {
      payload = openGcm(
        this.#keys.rtp,
        ssrc,
        rollover,
        sequenceNumber,
        packetAad(packet, headerLength),
        packet.subarray(headerLength, payloadEnd),
        packet.subarray(payloadEnd),
      );
    } else if (this.#cm.rtp.verify(packet, payloadEnd, rollover)) {
      const encrypted = packet.subarray(headerLength, payloadEnd);
      payload = this.#cm.rtp.crypt(ssrc, rollover, sequenceNumber, encrypted);
    }
    if (payload === undefined) {
      this.counters.authFailures += 1;
      return undefined;
    }
    (known ?? this.#add(ssrc)).rtp.mark(index);
    return payload;
  }

  /** Returns the decrypted compound packet, or undefined. */
  unprotectRtcp(packet: Buffer): Buffer | undefined {
    // 8 bytes of header in the clear, the index word and the tag.
    if (packet.length < 12 + this.#tagLength) {
      this.counters.malformed += 1;
      return undefined;
    }
    const cm = this.#cm?.rtcp;
    const wordOffset = cm === undefined ? packet.length - 4 : packet.length - this.#tagLength - 4;
    const word = readU32(packet, wordOffset);
    const encrypted = word >= E_BIT;
    const index = word & 0x7fff_ffff;
    const ssrc = readU32(packet, 4);
    const known = this.#ssrcs.get(ssrc);
    if (known === undefined ? this.#ssrcs.size >= MAX_SSRCS : !known.rtcp.accepts(index)) {
      this.counters.replays += 1;
      return undefined;
    }
    const plain =
      cm === undefined
        ? this.#openRtcpGcm(packet, ssrc, index, encrypted)
        : openRtcpCm(cm, packet, ssrc, index, encrypted, wordOffset);
    if (plain === undefined) {
      this.counters.authFailures += 1;
      return undefined;
    }
    (known ?? this.#add(ssrc)).rtcp.mark(index);
    return plain;
  }

  #openRtcpGcm(packet: Buffer, ssrc: number, index: number, encrypted: boolean): Buffer | undefined {
    const tagEnd = packet.length - 4;
    const tagStart = tagEnd - this.#tagLength;
    // RFC 7714 §9.2/9.3: the associated data is header + index word, or the whole packet when not encrypted.
    const clearEnd = encrypted ? 8 : tagStart;
    const aad = Buffer.concat([packet.subarray(0, clearEnd), packet.subarray(tagEnd)]);
    const plain = openGcm(
      this.#keys.rtcp,
      ssrc,
      index >>> 16,
      index & 0xffff,
      aad,
      packet.subarray(clearEnd, tagStart),
      packet.subarray(tagStart, tagEnd),
    );
    return plain === undefined ? undefined : Buffer.concat([packet.subarray(0, clearEnd), plain]);
  }

  #add(ssrc: number): InboundSsrc {
    const state = { rtp: new ReplayWindow(), rtcp: new ReplayWindow() };
    this.#ssrcs.set(ssrc, state);
    return state;
  }
}

function openRtcpCm(
  cm: AesCm,
  packet: Buffer,
  ssrc: number,
  index: number,
  encrypted: boolean,
  wordOffset: number,
): Buffer | undefined {
  if (!cm.verify(packet, wordOffset + 4)) {
    return undefined;
  }
  const body = packet.subarray(8, wordOffset);
  const plain = encrypted ? cm.crypt(ssrc, index >>> 16, index & 0xffff, body) : body;
  return Buffer.concat([packet.subarray(0, 8), plain]);
}

/** RFC 3711 §3.3.1 / appendix A: the rollover counter that puts the number closest to the highest index. */
function estimateRollover(highestIndex: number, sequenceNumber: number): number {
  const rollover = Math.floor(highestIndex / 0x1_0000);
  const highest = highestIndex % 0x1_0000;
  if (highest < 0x8000) {
    return sequenceNumber - highest > 0x8000 ? rollover - 1 : rollover;
  }
  return highest - 0x8000 > sequenceNumber ? rollover + 1 : rollover;
}
