const CODECS = ['video/H264', 'video/VP8'];
const MAX_VIDEO_BITS_PER_SECOND = 1_000_000;

export type WhipSession = {
  connection: RTCPeerConnection;
  /** Ends the session at the server (RFC 9725, section 4.2). @returns its answer's status. */
  stop(): Promise<number>;
};

/** Publishes the tracks: one POST with the offer, whose answer is the session. @throws Error with the server's text. */
export async function publishByWhip(target: {
  url: string;
  /** Sent as bearer token. */
  key: string;
  picture: MediaStreamTrack;
  sound: MediaStreamTrack;
}): Promise<WhipSession> {
  const { url, key, picture, sound } = target;
  const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  try {
    connection.addTransceiver(sound, { direction: 'sendonly' });
    const video = connection.addTransceiver(picture, {
      direction: 'sendonly',
      sendEncodings: [{ maxBitrate: MAX_VIDEO_BITS_PER_SECOND }],
    });
    video.setCodecPreferences(preferredCodecs());
    await keepSize(video.sender);
    await connection.setLocalDescription();
    const authorization = `Bearer ${key}`;
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/sdp', authorization },
      body: connection.localDescription?.sdp ?? '',
    });
    const answer = await response.text();
    if (response.status !== 201) {
      throw new Error(`the server answered ${response.status}: ${answer.slice(0, 200)}`);
    }
    // May be relative to the address that was asked.
    const session = new URL(response.headers.get('location') ?? '', response.url);
    await connection.setRemoteDescription({ type: 'answer', sdp: answer });
    return {
      connection,
      async stop() {
        // First of all: a connection that is closed ends the session, too.
        const { status } = await fetch(session, { method: 'DELETE', headers: { authorization } });
        connection.close();
        return status;
      },
    };
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** H.264 first: every recording and every stream takes it as it is. */
function preferredCodecs(): RTCRtpCodec[] {
  const all = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
  return CODECS.flatMap((mimeType) => all.filter((codec) => codec.mimeType === mimeType));
}

/** When the line or the computer is slow, rather fewer frames than smaller ones. */
async function keepSize(sender: RTCRtpSender): Promise<void> {
  await sender.setParameters({ ...sender.getParameters(), degradationPreference: 'maintain-resolution' });
}
