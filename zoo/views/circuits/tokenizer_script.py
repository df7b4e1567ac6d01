"""JavaScript that converts a prompt to token numbers: byte-level BPE, or words separated by blanks."""

TOKENIZER = """
function createTokenizer(about) {
  'use strict';
  const numbers = new Map(about.pieces.map(function (piece, i) { return [piece, i]; }));
  if (about.kind === 'words') {
    return function (text) {
      return text.split(/\\s+/u).filter(Boolean).map(function (word) {
        return numbers.has(word) ? numbers.get(word) : about.unknown;
      });
    };
  }
  const letters = [];  // of the 256 bytes; those that cannot be printed have letters from 256 on
  for (let byte = 0, next = 256; byte < 256; byte++) {
    const printed = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    letters.push(String.fromCharCode(printed ? byte : next++));
  }
  const ranks = new Map(about.merges.map(function (pair, i) { return [pair.join(' '), i]; }));
  const pattern = new RegExp(about.split, 'gu');

  function merged(word) {
    let parts = Array.from(new TextEncoder().encode(word), function (byte) { return letters[byte]; });
    while (parts.length > 1) {
      let best = -1, least = Infinity;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = ranks.get(parts[i] + ' ' + parts[i + 1]);
        if (rank !== undefined && rank < least) [best, least] = [i, rank];
      }
      if (best < 0) break;
      parts.splice(best, 2, parts[best] + parts[best + 1]);
    }
    return parts.map(function (piece) { return numbers.get(piece); });
  }
  return function (text) {
    const found = [];
    let end = 0;
    for (const match of text.matchAll(pattern)) {
      if (match.index > end) found.push(...merged(text.slice(end, match.index)));
      if (match[0]) found.push(...merged(match[0]));
      end = match.index + match[0].length;
    }
    if (end < text.length) found.push(...merged(text.slice(end)));
    return found;
  };
}
"""
