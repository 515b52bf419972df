/** `{egress_id}.json` next to the recording; field names are LiveKit's. */
export type ManifestFacts = {
  egressId: string;
  roomId: string;
  roomName: string;
  startedAtNs: bigint;
  endedAtNs: bigint;
  publisherIdentity: string;
  trackId: string;
  trackKind: string;
  trackSource: string;
  filename: string;
  location: string;
};

export function manifestJson(facts: ManifestFacts): string {
  const fields: Record<string, unknown> = {
    egress_id: facts.egressId,
    room_id: facts.roomId,
    room_name: facts.roomName,
    started_at: facts.startedAtNs,
    ended_at: facts.endedAtNs,
    publisher_identity: facts.publisherIdentity,
    track_id: facts.trackId,
    track_kind: facts.trackKind,
    track_source: facts.trackSource,
    files: [{ filename: facts.filename, location: facts.location }],
  };
  const filled = Object.entries(fields).filter(([, value]) => value !== '');
  // Nanoseconds do not fit a JavaScript number: written as digits by hand.
  const lines = filled.map(
    ([key, value]) =>
      `${JSON.stringify(key)}:${typeof value === 'bigint' ? String(value) : JSON.stringify(value)}`,
  );
  return `{${lines.join(',')}}`;
}
