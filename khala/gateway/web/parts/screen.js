// The place where output appears: made by hand and not by the library, for it may be megabytes.
// It holds the newest part only, adds a little in each frame, and puts text in as text.
import { Ansi, overwritten } from "./ansi.js";

/** The most characters that are in the page, and in one frame. */
export const MOST_SHOWN = 512 * 1024;
const PER_FRAME = 48 * 1024;
const BLOCK = 16 * 1024;
const LONGEST_LINE = 8 * 1024;
const NEAR_END = 24;

const encoder = new TextEncoder();
const sizeOf = (text) => (/^[\x00-\x7f]*$/.test(text) ? text.length : encoder.encode(text).length);

export class Screen {
  /** `box` scrolls; `onState({ following, behind, top })` hears of changes. `top` is the byte that the first
   * line shown begins with. */
  constructor(box, onState) {
    this.box = box;
    this.onState = onState;
    this.following = true;
    this.clear();
    this.onScroll = () => this.scrolled();
    box.addEventListener("scroll", this.onScroll, { passive: true });
  }

  clear() {
    this.box.replaceChildren();
    this.blocks = [];
    this.shown = 0;
    this.waiting = [];
    this.waitingSize = 0;
    this.top = null;
    this.restart();
  }

  /** What a line begins with when nothing before it is known. */
  restart() {
    this.ansi = new Ansi();
    this.open = "";
    this.openLine = null;
    this.openLook = this.ansi.look;
  }

  /** More output, which begins at the byte `offset`. What would be gone before it was seen is never drawn. */
  append(text, offset) {
    this.waiting.push([text, offset]);
    this.waitingSize += text.length;
    while (this.waiting.length > 1 && this.waitingSize - this.waiting[0][0].length >= MOST_SHOWN) {
      this.waitingSize -= this.waiting.shift()[0].length;
      this.skipped = true;
    }
    this.wake();
  }

  /** Earlier output from the byte `offset` on, up to all that is there; the view stays where it is. */
  prepend(text, offset) {
    const block = document.createElement("div");
    const ansi = new Ansi();
    for (const line of text.replace(/\n$/, "").split("\n")) block.append(drawn(line, ansi));
    const before = this.box.scrollHeight;
    this.box.prepend(block);
    this.blocks.unshift([block, text.length, sizeOf(text)]);
    this.shown += text.length;
    this.top = offset;
    this.box.scrollTop += this.box.scrollHeight - before;
    this.at = this.box.scrollTop;
    this.tell();
  }

  follow(on) {
    this.following = on;
    if (on) this.toEnd();
    this.wake();
    this.tell();
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.box.removeEventListener("scroll", this.onScroll);
  }

  wake() {
    if (!this.following) this.tell();
    else if (!this.frame && this.waiting.length) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    if (this.skipped) this.leap();
    let budget = PER_FRAME;
    while (budget > 0 && this.waiting.length) {
      const [text, offset] = this.waiting.shift();
      const now = text.slice(0, budget);
      if (now.length < text.length) this.waiting.unshift([text.slice(now.length), offset + sizeOf(now)]);
      budget -= now.length;
      this.waitingSize -= now.length;
      this.put(now, offset);
    }
    this.trim();
    this.toEnd();
    this.tell();
    this.wake();
  }

  /** Go on behind what was left out. */
  leap() {
    const { waiting, waitingSize } = this;
    this.clear();
    Object.assign(this, { waiting, waitingSize, skipped: false });
  }

  put(text, offset) {
    let rest = text;
    if (this.top === null) {
      // In the middle of a line one does not begin, unless it is the only one.
      const cut = offset > 0 ? text.indexOf("\n") + 1 : 0;
      rest = text.slice(cut);
      this.top = offset + sizeOf(text.slice(0, cut));
    }
    const lines = (this.open + rest).split("\n");
    this.openLine?.remove();
    this.ansi.look = this.openLook;
    const last = lines.pop();
    for (const line of lines) this.add(line, 1);
    const whole = Math.floor(last.length / LONGEST_LINE) * LONGEST_LINE;
    if (whole) this.add(last.slice(0, whole), 0);
    this.open = last.slice(whole);
    this.openLook = this.ansi.look;
    this.openLine = this.open ? drawn(this.open, this.ansi) : null;
    if (this.openLine) this.block()[0].append(this.openLine);
  }

  /** A line, in rows that are not too long to be laid out quickly; `end` is the size of what ends it. */
  add(line, end) {
    for (let from = 0; from === 0 || from < line.length; from += LONGEST_LINE) {
      const part = line.slice(from, from + LONGEST_LINE);
      const block = this.block();
      block[0].append(drawn(part, this.ansi));
      block[1] += part.length + 1;
      block[2] += sizeOf(part);
      this.shown += part.length + 1;
    }
    this.blocks.at(-1)[2] += end;
  }

  block() {
    if (!this.blocks.length || this.blocks.at(-1)[1] > BLOCK) {
      const block = document.createElement("div");
      this.box.append(block);
      this.blocks.push([block, 0, 0]);
    }
    return this.blocks.at(-1);
  }

  trim() {
    while (this.shown > MOST_SHOWN && this.blocks.length > 1) {
      const [block, characters, bytes] = this.blocks.shift();
      block.remove();
      this.shown -= characters;
      this.top += bytes;
    }
  }

  toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
    this.at = this.box.scrollTop;
  }

  /** Who scrolls up wants to read: new output then waits. Who scrolls back to the end has it go on; that it
   * was there when paused does not, for the browser may tell of a scroll only then. */
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
    const moved = scrollTop - (this.at ?? 0);
    this.at = scrollTop;
    if (this.following ? moved < -2 && !atEnd : moved > 0 && atEnd) this.follow(!this.following);
  }

  tell() {
    this.onState({ following: this.following, behind: this.waitingSize, top: this.top });
  }
}

function drawn(line, ansi) {
  const row = document.createElement("div");
  for (const { text, look } of ansi.pieces(overwritten(line))) row.append(piece(text, look));
  if (!row.firstChild) row.append("\u200b");
  return row;
}

function piece(text, look) {
  const { fg, bg, inverse } = look;
  const classes = ["bold", "dim", "italic", "underline", "strike"].filter((name) => look[name]);
  if (!fg && !bg && !inverse && !classes.length) return document.createTextNode(text);
  const span = document.createElement("span");
  const [front, back] = inverse ? [bg || "back", fg || "front"] : [fg, bg];
  if (front && !front.startsWith("rgb")) classes.push(`f-${front}`);
  if (back.startsWith("rgb")) {
    span.style.backgroundColor = back;
    if (front.startsWith("rgb")) span.style.color = front;
    else if (!fg || inverse) classes.push(isBright(back) ? "on-bright" : "on-dim");
  } else {
    if (back) classes.push(`b-${back}`);
    if (front.startsWith("rgb")) {
      span.style.setProperty("--own", front);
      classes.push("f-own");
    }
  }
  span.className = classes.join(" ");
  span.textContent = text;
  return span;
}

/** Is black easier to read on it than white? (Relative luminance, WCAG 2.2, by the simpler curve.) */
function isBright(rgb) {
  const [red, green, blue] = rgb.match(/\d+/g).map((part) => (part / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18;
}
