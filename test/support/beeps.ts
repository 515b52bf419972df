import { BEEP_HZ } from '../../fixtures/flash-beep.ts';
import { readSound } from './recording-content.ts';

const STEP_S = 0.1;
/** Half a beep within a step. */
const AUDIBLE = 0.1;

/** How often a recording beeps, how long it is, and what share of it is silent. */
export async function countBeeps(
  file: string,
): Promise<{ beeps: number; durationS: number; silence: number }> {
  const sound = await readSound(file);
  const steps = Array.from({ length: Math.floor(sound.durationS / STEP_S) - 1 }, (_, index) => {
    const fromS = index * STEP_S;
    return {
      beeps: sound.tone('left', BEEP_HZ, fromS, fromS + STEP_S * 1.01) > AUDIBLE,
      silent: sound.level('right', fromS, fromS + STEP_S) < 0.01,
    };
  });
  return {
    durationS: sound.durationS,
    beeps: steps.filter(({ beeps }, index) => beeps && steps[index - 1]?.beeps !== true).length,
    silence: steps.filter(({ silent }) => silent).length / Math.max(1, steps.length),
  };
}
