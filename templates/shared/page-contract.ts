/** What a page and the egress that records it agree on (the contract of LiveKit's egress templates). */
export type PageQuery = { url: string; token: string; layout: string };

/** @throws Error naming the missing query parameter. */
export function readPageQuery(search: string): PageQuery {
  const query = new URLSearchParams(search);
  return { url: required(query, 'url'), token: required(query, 'token'), layout: query.get('layout') ?? '' };
}

function required(query: URLSearchParams, name: string): string {
  const value = query.get(name) ?? '';
  if (value === '') {
    throw new Error(`query parameter "${name}" is missing`);
  }
  return value;
}

export function startRecording(): void {
  console.log('START_RECORDING');
}

export function endRecording(): void {
  console.log('END_RECORDING');
}

/** Shows a refusal where the egress looks for it; it ends the job with "template error: …". */
export function showError(text: string): void {
  const box = document.createElement('div');
  box.className = 'error';
  box.textContent = text;
  document.body.append(box);
}

/** The layout that UpdateLayout wrote into the recorder's own metadata: `{"layout":"speaker"}`. */
export function layoutFromMetadata(metadata: string | undefined): string | undefined {
  if (metadata === undefined || metadata === '') {
    return undefined;
  }
  try {
    const value: unknown = JSON.parse(metadata);
    if (
      typeof value === 'object' &&
      value !== null &&
      'layout' in value &&
      typeof value.layout === 'string'
    ) {
      return value.layout;
    }
  } catch {
    // Not ours.
  }
  return undefined;
}
