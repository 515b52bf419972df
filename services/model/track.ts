/** LiveKit's track sources, spelled as in a token's canPublishSources. */
export type TrackKind = 'audio' | 'video';
export type TrackSource = 'unknown' | 'camera' | 'microphone' | 'screen_share' | 'screen_share_audio';

/** 0 low, 1 medium, 2 high: LiveKit's VideoQuality and the index of a simulcast layer. */
export type LayerIndex = 0 | 1 | 2;

export type LayerSize = { layer: LayerIndex; width: number; height: number };

/** RID names of LiveKit clients; others are listed best first (RFC 8853 section 5.2: in order of preference). */
const LAYER_BY_RID: ReadonlyMap<string, LayerIndex> = new Map([
  ['q', 0],
  ['h', 1],
  ['f', 2],
]);

/** Simulcast rid → layer. At most three layers; further rids share the lowest. */
export function layersByRid(rids: readonly string[]): Map<string, LayerIndex> {
  const known = rids.every((rid) => LAYER_BY_RID.has(rid));
  const highest = Math.min(rids.length, LAYER_BY_RID.size) - 1;
  return new Map(
    rids.map((rid, index) => [
      rid,
      (known ? LAYER_BY_RID.get(rid) : undefined) ?? clampLayer(highest - index),
    ]),
  );
}

export function clampLayer(index: number): LayerIndex {
  return index <= 0 ? 0 : index === 1 ? 1 : 2;
}

/**
 * The smallest announced layer that fills the asked size; the largest when none does. With no size asked or
 * announced, the asked quality counts.
 */
export function layerForSize(
  layers: readonly LayerSize[],
  asked: { quality: number; width: number; height: number },
): LayerIndex {
  const sized = layers.filter((layer) => layer.width > 0).sort((a, b) => a.width - b.width);
  if ((asked.width === 0 && asked.height === 0) || sized.length < 2) {
    return clampLayer(asked.quality);
  }
  const fit = sized.find((layer) => layer.width >= asked.width && layer.height >= asked.height);
  return (fit ?? sized.at(-1))?.layer ?? clampLayer(asked.quality);
}

/** Second and third letter of a track id: kind and source, as LiveKit writes them (`TR_VC…` is a camera). */
export function trackSidInfix(kind: TrackKind, source: TrackSource): string {
  const letter = {
    unknown: '',
    camera: 'C',
    microphone: 'M',
    screen_share: 'S',
    screen_share_audio: 's',
  }[source];
  return (kind === 'video' ? 'V' : 'A') + letter;
}
