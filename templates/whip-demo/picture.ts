const FRAMES_PER_SECOND = 30;
const ORBITS = [
  { colour: '#4fb9d8', radius: 26, secondsPerTurn: 5 },
  { colour: '#f2a65a', radius: 18, secondsPerTurn: 3 },
  { colour: '#7bd389', radius: 12, secondsPerTurn: 2 },
] as const;

/** A picture that never stands still: discs on orbits, and a clock to the tenth of a second. */
export function paintPicture(canvas: HTMLCanvasElement): MediaStreamTrack {
  const context = canvas.getContext('2d', { alpha: false });
  const [track] = canvas.captureStream(FRAMES_PER_SECOND).getVideoTracks();
  if (context === null || track === undefined) {
    throw new Error('this browser cannot capture a canvas');
  }
  // A clock of its own instead of requestAnimationFrame, which stops when the tab is hidden.
  setInterval(() => paint(context, performance.now() / 1000), 1000 / FRAMES_PER_SECOND);
  return track;
}

function paint(context: CanvasRenderingContext2D, nowS: number): void {
  const { width, height } = context.canvas;
  const background = context.createLinearGradient(0, 0, width, height);
  background.addColorStop(0, `hsl(${(nowS * 12) % 360} 45% 22%)`);
  background.addColorStop(1, `hsl(${(nowS * 12 + 80) % 360} 45% 14%)`);
  context.fillStyle = background;
  context.fillRect(0, 0, width, height);
  ORBITS.forEach(({ colour, radius, secondsPerTurn }, index) => {
    const angle = (nowS / secondsPerTurn) * 2 * Math.PI;
    const distance = 60 + index * 42;
    context.fillStyle = colour;
    context.beginPath();
    context.arc(
      width / 2 + distance * 1.6 * Math.cos(angle),
      height / 2 + distance * 0.8 * Math.sin(angle),
      radius,
      0,
      2 * Math.PI,
    );
    context.fill();
  });
  context.fillStyle = '#fff';
  context.textAlign = 'center';
  context.font = '600 30px sans-serif';
  context.fillText('Browser, by WHIP', width / 2, 46);
  context.font = '24px monospace';
  context.fillText(new Date().toISOString().slice(11, 21), width / 2, height - 28);
}
