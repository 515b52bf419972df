import { readU16, readU32, writeU32 } from './bytes.ts';
import { rtpHeaderLength } from './rtp-header.ts';
import { sequenceDistance } from './sequence.ts';
import { packetAad, sealGcm } from './srtp-cipher.ts';
import { AesCm } from './srtp-cm.ts';
import { SRTP_PROFILES, type SrtpDirectionKeys } from './srtp-keys.ts';

/** RFC 3711 §9.2: at most 2^31 SRTCP packets under one key. */
const MAX_RTCP_INDEX = 0x7fff_ffff;
const MAX_ROLLOVER = 0xffff_ffff;
const E_BIT = 0x8000_0000;

/** Most bytes that protection adds to an RTP packet. */
export const SRTP_MAX_OVERHEAD = 16;

type OutboundSsrc = { rollover: number; highest: number };

/** Encrypts what goes to one remote (RFC 3711, RFC 7714). */
export class SrtpSender {
  readonly #keys: SrtpDirectionKeys;
  /** Undefined with GCM. */
  readonly #cm: { rtp: AesCm; rtcp: AesCm } | undefined;
  readonly #tagLength: number;
  readonly #ssrcs = new Map<number, OutboundSsrc>();
  #rtcpIndex = 0;

  constructor(keys: SrtpDirectionKeys) {
    this.#keys = keys;
    this.#cm =
      keys.profile === 'AEAD_AES_128_GCM'
        ? undefined
        : { rtp: new AesCm(keys.rtp), rtcp: new AesCm(keys.rtcp) };
    this.#tagLength = SRTP_PROFILES[keys.profile].tagLength;
  }

  /**
   * The packet path: `out` starts with a complete RTP header of `headerLength` bytes; the encrypted payload and the tag
   * are written behind it. Returns the packet's length. The caller keeps the rollover counter and never uses one
   * (SSRC, rollover, sequence number) for two different packets: that would break GCM.
   */
  sealRtp(out: Buffer, headerLength: number, payload: Uint8Array, rollover: number): number {
    const sequenceNumber = readU16(out, 2);
    const ssrc = readU32(out, 8);
    if (this.#cm === undefined) {
      return sealGcm(
        this.#keys.rtp,
        ssrc,
        rollover,
        sequenceNumber,
        packetAad(out, headerLength),
        payload,
        out,
        headerLength,
      );
    }
    out.set(this.#cm.rtp.crypt(ssrc, rollover, sequenceNumber, payload), headerLength);
    return this.#cm.rtp.sign(out, headerLength + payload.length, rollover);
  }

  /**
   * The convenient way: a complete plain RTP packet in, the protected one out; the rollover counter is kept here per
   * SSRC. Send each sequence number once (repeats as RTX or as the same protected bytes).
   * Throws RangeError for something that is not RTP or when the key is used up.
   */
  protectRtp(packet: Uint8Array): Buffer {
    const headerLength = rtpHeaderLength(packet);
    if (headerLength < 0) {
      throw new RangeError('not an RTP packet');
    }
    const rollover = this.#rolloverFor(readU32(packet, 8), readU16(packet, 2));
    const out = Buffer.allocUnsafe(packet.length + SRTP_MAX_OVERHEAD);
    out.set(packet.subarray(0, headerLength), 0);
    return out.subarray(0, this.sealRtp(out, headerLength, packet.subarray(headerLength), rollover));
  }

  /** Protects a compound RTCP packet. Throws RangeError when it is too short or the key is used up. */
  protectRtcp(packet: Uint8Array): Buffer {
    if (packet.length < 8) {
      throw new RangeError('an RTCP packet has at least 8 bytes');
    }
    if (this.#rtcpIndex >= MAX_RTCP_INDEX) {
      throw new RangeError('SRTCP index space is used up: the peer must reconnect for new keys');
    }
    this.#rtcpIndex += 1;
    const index = this.#rtcpIndex;
    const ssrc = readU32(packet, 4);
    const body = packet.subarray(8);
    const out = Buffer.allocUnsafe(packet.length + this.#tagLength + 4);
    out.set(packet.subarray(0, 8), 0);
    if (this.#cm === undefined) {
      const word = Buffer.alloc(4);
      writeU32(word, 0, index + E_BIT);
      const aad = Buffer.concat([out.subarray(0, 8), word]);
      const end = sealGcm(this.#keys.rtcp, ssrc, index >>> 16, index & 0xffff, aad, body, out, 8);
      out.set(word, end);
      return out;
    }
    out.set(this.#cm.rtcp.crypt(ssrc, index >>> 16, index & 0xffff, body), 8);
    writeU32(out, packet.length, index + E_BIT);
    this.#cm.rtcp.sign(out, packet.length + 4);
    return out;
  }

  #rolloverFor(ssrc: number, sequenceNumber: number): number {
    const state = this.#ssrcs.get(ssrc);
    if (state === undefined) {
      this.#ssrcs.set(ssrc, { rollover: 0, highest: sequenceNumber });
      return 0;
    }
    const distance = sequenceDistance(sequenceNumber, state.highest);
    if (distance <= 0) {
      const rollover = sequenceNumber > state.highest ? state.rollover - 1 : state.rollover;
      if (rollover < 0) {
        throw new RangeError('the sequence number lies before the first packet of this SSRC');
      }
      return rollover;
    }
    if (sequenceNumber < state.highest) {
      if (state.rollover >= MAX_ROLLOVER) {
        throw new RangeError('SRTP index space is used up: the peer must reconnect for new keys');
      }
      state.rollover += 1;
    }
    state.highest = sequenceNumber;
    return state.rollover;
  }
}
