import type { TargetLayer } from '../../model/ingress.ts';

type Size = { width: number; height: number };

/**
 * The layers a picture of this size is sent in, lowest first. As LiveKit does it: none is larger than the picture, and
 * what is above the first layer that reaches its size is left out.
 */
export function fitLayers(layers: readonly TargetLayer[], source: Size): TargetLayer[] {
  const fitted: TargetLayer[] = [];
  const whole = { width: even(source.width), height: even(source.height) };
  for (const layer of layers) {
    const size = fitSize(layer, source);
    fitted.push({ ...size, bitrateKbps: layer.bitrateKbps });
    if (size.width >= whole.width && size.height >= whole.height) {
      break;
    }
  }
  return fitted;
}

/** As fitLayers, with exactly `count` layers: those of a track that goes on with another picture size. */
export function fitLayerCount(layers: readonly TargetLayer[], source: Size, count: number): TargetLayer[] {
  const fitted = fitLayers(layers, source).slice(-count);
  for (let lowest = fitted[0]; lowest !== undefined && fitted.length < count; lowest = fitted[0]) {
    const { width, height, bitrateKbps } = lowest;
    fitted.unshift({
      width: even(width / 2),
      height: even(height / 2),
      bitrateKbps: Math.ceil(bitrateKbps * 0.25 ** 0.75),
    });
  }
  return fitted;
}

/**
 * The size within the box, turned with the picture, that keeps its shape: whole pixels, made even upwards as LiveKit
 * does, but never larger than the picture.
 */
function fitSize(box: Size, source: Size): Size {
  const isPortrait = source.height > source.width;
  const [long, short] = [Math.max(box.width, box.height), Math.min(box.width, box.height)];
  const limit = isPortrait ? { width: short, height: long } : { width: long, height: short };
  let { width, height } = source;
  if (width > limit.width) {
    width = limit.width;
    height = Math.floor((width * source.height) / source.width);
  }
  if (height > limit.height) {
    height = limit.height;
    width = Math.floor((height * source.width) / source.height);
  }
  return {
    width: Math.min(even(width + 1), even(source.width)),
    height: Math.min(even(height + 1), even(source.height)),
  };
}

function even(side: number): number {
  return Math.max(2, 2 * Math.floor(side / 2));
}
