// What is done only after a moment, in which it can be taken back.
import { html, Store, useStore } from "../ui.js";

const GRACE_MS = 5000;
const waiting = new Store([]);
let lastKey = 0;

/** Say `text`, and `act({ keepalive })` in five seconds unless it is undone; at once when the page is left. */
export function soon(text, act) {
  lastKey += 1;
  const entry = { key: lastKey, text, act };
  entry.timer = setTimeout(() => finish(entry), GRACE_MS);
  waiting.set([...waiting.value, entry]);
}

/** Say something that is over already. */
export function say(text) {
  lastKey += 1;
  const entry = { key: lastKey, text, act: null };
  entry.timer = setTimeout(() => drop(entry), GRACE_MS);
  waiting.set([...waiting.value, entry]);
}

function drop(entry) {
  clearTimeout(entry.timer);
  waiting.set(waiting.value.filter((other) => other !== entry));
}

async function finish(entry, { keepalive = false } = {}) {
  drop(entry);
  try {
    await entry.act?.({ keepalive });
  } catch (problem) {
    say(problem.detail ?? "That did not work.");
  }
}

addEventListener("pagehide", () => {
  for (const entry of waiting.value) finish(entry, { keepalive: true });
});

export function Undos() {
  const entries = useStore(waiting);
  return html`<div class="undos" role="status" aria-live="polite">
    ${entries.map(
      (entry) => html`<div key=${entry.key} class="undo">
        <span>${entry.text}</span>
        ${entry.act &&
        html`<button onClick=${() => drop(entry)}>Undo</button>
          <button class="quiet" onClick=${() => finish(entry)}>Now</button>`}
      </div>`,
    )}
  </div>`;
}
