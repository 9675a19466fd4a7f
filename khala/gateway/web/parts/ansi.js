// Terminal output as pieces of text with a look (ECMA-48, section 8.3.117: SGR). Pure: it makes no elements.

const SEQUENCE = /\x1b\[([0-9;:]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;
const PLAIN = { fg: "", bg: "", bold: false, dim: false, italic: false, underline: false, strike: false, inverse: false };

/** Reads one line after the other; the look goes on from line to line. */
export class Ansi {
  constructor() {
    this.look = PLAIN;
  }

  /** `text` as [{ text, look }], without the sequences. */
  pieces(text) {
    if (!/[\x00-\x08\x0b-\x1f\x7f]/.test(text)) return text ? [{ text, look: this.look }] : [];
    const found = [];
    let from = 0;
    const add = (to) => to > from && found.push({ text: text.slice(from, to), look: this.look });
    for (const match of text.matchAll(SEQUENCE)) {
      add(match.index);
      from = match.index + match[0].length;
      if (match[2] === "m") this.look = changed(this.look, match[1]);
    }
    add(text.length);
    return found;
  }
}

/** A line as a terminal shows it at last: what comes after a carriage return stands over what was before. */
export function overwritten(line) {
  if (!line.includes("\r")) return line;
  const parts = line.split("\r");
  return parts.findLast((part) => part !== "") ?? "";
}

function changed(look, parameters) {
  const codes = parameters.split(/[;:]/).map(Number);
  let next = look;
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 38 || code === 48) {
      const [colour, used] = extended(codes, at + 1);
      next = { ...next, [code === 38 ? "fg" : "bg"]: colour };
      at += used;
    } else {
      next = simple(next, code);
    }
  }
  return next;
}

function extended(codes, at) {
  if (codes[at] === 5) return [indexed(codes[at + 1] ?? 0), 2];
  if (codes[at] === 2) return [`rgb(${[1, 2, 3].map((step) => clip(codes[at + step])).join(",")})`, 4];
  return ["", 1];
}

const clip = (value) => Math.min(255, Math.max(0, value || 0));

function indexed(index) {
  if (index < 16) return `c${index}`;
  if (index > 231) return `rgb(${Array(3).fill(8 + (clip(index) - 232) * 10).join(",")})`;
  const level = (value) => (value ? 55 + value * 40 : 0);
  const cube = index - 16;
  return `rgb(${level(Math.floor(cube / 36))},${level(Math.floor(cube / 6) % 6)},${level(cube % 6)})`;
}

function simple(look, code) {
  if (code === 0) return PLAIN;
  if (code === 1) return { ...look, bold: true };
  if (code === 2) return { ...look, dim: true };
  if (code === 3) return { ...look, italic: true };
  if (code === 4) return { ...look, underline: true };
  if (code === 7) return { ...look, inverse: true };
  if (code === 9) return { ...look, strike: true };
  if (code === 22) return { ...look, bold: false, dim: false };
  if (code === 23) return { ...look, italic: false };
  if (code === 24) return { ...look, underline: false };
  if (code === 27) return { ...look, inverse: false };
  if (code === 29) return { ...look, strike: false };
  if (code === 39) return { ...look, fg: "" };
  if (code === 49) return { ...look, bg: "" };
  if (code >= 30 && code <= 37) return { ...look, fg: `c${code - 30}` };
  if (code >= 40 && code <= 47) return { ...look, bg: `c${code - 40}` };
  if (code >= 90 && code <= 97) return { ...look, fg: `c${code - 82}` };
  if (code >= 100 && code <= 107) return { ...look, bg: `c${code - 92}` };
  return look;
}
