/** FFmpeg 8's libraries (node-av), also on Node 20, which lacks what they call. */
Promise.withResolvers ??= function withResolvers() {
  let resolve;
  let reject;
  const promise = new Promise((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
};
// Evaluated behind the lines above; a static import would come before them.
export const { Demuxer, Muxer } = await import('node-av/api');
