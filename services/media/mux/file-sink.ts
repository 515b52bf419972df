import { open } from 'node:fs/promises';
import type { ByteSink } from './muxer-types.ts';

/** A file as byte sink; fails with Node's own error when it cannot be created. */
export async function openFileSink(path: string): Promise<ByteSink> {
  const file = await open(path, 'w');
  let closed: Promise<void> | undefined;
  return {
    write: async (data, position) => {
      let offset = 0;
      while (offset < data.length) {
        const { bytesWritten } = await file.write(data, offset, data.length - offset, position + offset);
        offset += bytesWritten;
      }
    },
    close: () => (closed ??= file.close()),
  };
}
