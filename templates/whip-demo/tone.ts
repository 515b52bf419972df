const SAMPLE_RATE_HZ = 48_000;
const NOTES_HZ = [523, 659, 784, 659] as const;
const NOTE_S = 0.5;
const VOLUME = 0.15;
const ATTACK_S = 0.02;
const RELEASE_S = 0.4;
const PLANNED_AHEAD_S = 2;

/** Soft notes, one every half second. A browser wants a click first, unless it was told that pages may play. */
export async function playNotes(): Promise<MediaStreamTrack> {
  const audio = new AudioContext({ sampleRate: SAMPLE_RATE_HZ });
  await audio.resume();
  const output = new MediaStreamAudioDestinationNode(audio);
  const level = new GainNode(audio, { gain: 0 });
  const tone = new OscillatorNode(audio, { type: 'triangle' });
  tone.connect(level).connect(output);
  tone.start();
  let count = 0;
  const plan = (): void => {
    while (count * NOTE_S < audio.currentTime + PLANNED_AHEAD_S) {
      const atS = count * NOTE_S;
      tone.frequency.setValueAtTime(NOTES_HZ[count % NOTES_HZ.length] ?? 0, atS);
      level.gain.setValueAtTime(0, atS);
      level.gain.linearRampToValueAtTime(VOLUME, atS + ATTACK_S);
      level.gain.linearRampToValueAtTime(0, atS + RELEASE_S);
      count += 1;
    }
  };
  plan();
  setInterval(plan, 1000);
  const [track] = output.stream.getAudioTracks();
  if (track === undefined) {
    throw new Error('this browser gives no sound from Web Audio');
  }
  return track;
}
