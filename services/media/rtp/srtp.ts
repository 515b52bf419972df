import { deriveSrtpKeys, type SrtpMasterKey, type SrtpProfile } from './srtp-keys.ts';
import { SrtpReceiver } from './srtp-receiver.ts';
import { SrtpSender } from './srtp-sender.ts';

/** Both directions of SRTP/SRTCP of one DTLS connection, from the keys DTLS exports (RFC 5764 §4.2). */
export class SrtpSession {
  readonly profile: SrtpProfile;
  readonly sender: SrtpSender;
  readonly receiver: SrtpReceiver;

  /** `local` protects what this side sends. Throws RangeError when key or salt has the wrong length. */
  constructor(options: { profile: SrtpProfile; local: SrtpMasterKey; remote: SrtpMasterKey }) {
    this.profile = options.profile;
    this.sender = new SrtpSender(deriveSrtpKeys(options.profile, options.local));
    this.receiver = new SrtpReceiver(deriveSrtpKeys(options.profile, options.remote));
  }
}

export {
  SRTP_CLIENT_PROFILES,
  SRTP_PROFILES,
  SRTP_PROFILE_PREFERENCE,
  srtpProfileById,
} from './srtp-keys.ts';
export type { SrtpMasterKey, SrtpProfile } from './srtp-keys.ts';
