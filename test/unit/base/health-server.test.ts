import { expect, test } from 'vitest';
import { startHealthServer } from '../../../services/base/http/health-server.ts';

test('availability is what LiveKit tells load balancers: 200, or 503 while nothing more is taken', async () => {
  let isAvailable = true;
  const health = await startHealthServer({
    ...{ port: 0, bindAddress: '127.0.0.1', ready: () => ({ ready: true }), status: () => ({}) },
    available: () => isAvailable,
    metrics: { render: () => Promise.resolve({ contentType: 'text/plain', text: '' }) },
  });
  const ask = async (path = '/availability'): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${health.port}${path}`);
    return `${response.status} ${await response.text()}`;
  };
  expect(await ask()).toBe('200 Available');
  isAvailable = false;
  expect(await ask()).toBe('503 No availability');
  expect(await ask('/')).toBe('200 Healthy');
  await health.close('test over');
});
