import { EncodingOptionsPreset } from '@livekit/protocol';
import type { RpcStartEgressRequest } from '../bus/rpc-messages.ts';
import type { CpuCost } from './admission.ts';

/** Which of the configured costs a request reserves. */
export function costKeyOf(request: RpcStartEgressRequest['request']): keyof CpuCost {
  switch (request.case) {
    case 'track':
    case 'participant':
    case 'trackComposite':
    case 'web':
      return request.case;
    case 'egress': {
      const { source, encoding } = request.value;
      if (source.case === 'media') {
        const isPassthrough =
          encoding.case === 'preset' && encoding.value === EncodingOptionsPreset.PASSTHROUGH;
        return isPassthrough
          ? 'track'
          : source.value.video.case === undefined
            ? 'audioRoomComposite'
            : 'participant';
      }
      return source.case === 'web' ? 'web' : roomCompositeKey(source.value);
    }
    case 'roomComposite':
      return roomCompositeKey(request.value);
    case 'replay':
    case undefined:
      return 'roomComposite';
  }
}

/** Only a room that is heard in the built-in way needs no browser. */
function roomCompositeKey(
  source: { audioOnly: boolean; layout: string; customBaseUrl: string } | undefined,
): keyof CpuCost {
  return source?.audioOnly === true && source.layout === '' && source.customBaseUrl === ''
    ? 'audioRoomComposite'
    : 'roomComposite';
}
