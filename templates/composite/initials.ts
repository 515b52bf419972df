const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** "Ada Lovelace" → "AL", "obs-studio" → "OS", "李小龙" → "李". */
export function initialsOf(name: string): string {
  const words = name.split(/[\s\-_.@]+/u).filter((word) => word !== '');
  return words.slice(0, 2).map(firstOf).join('').toLocaleUpperCase();
}

function firstOf(word: string): string {
  return graphemes.segment(word).containing(0)?.segment ?? '';
}
