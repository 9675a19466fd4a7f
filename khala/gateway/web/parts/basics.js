// Small pieces that every page is made of.
import { absolute, relative, sentence } from "../format.js";
import { STATES, VERDICTS } from "../words.js";
import { html, useEffect, useNow, useState } from "../ui.js";
import { Icon } from "./icons.js";

/** A moment as "3 min ago", in full where one points at it. */
export function Time({ at }) {
  const now = useNow();
  if (!at) return html`<span class="none">–</span>`;
  return html`<time datetime=${at} title=${absolute(at)}>${relative(Date.parse(at), now)}</time>`;
}

/** A state by shape and word; a task whose output is wrong has not done well. */
export function State({ task }) {
  const wrong = task.state === "succeeded" && task.verdict === "wrong_answer";
  const { word, shape, tone } = wrong ? { word: "Wrong output", shape: "cross", tone: "bad" } : STATES[task.state];
  const leaving = task.cancel_requested && ["assigned", "running", "pending"].includes(task.state);
  return html`<span class=${`state ${tone}`}><${Icon} name=${shape} />${leaving ? "Being cancelled" : word}</span>`;
}

export function Verdict({ verdict }) {
  const [word, tone] = VERDICTS[verdict] ?? [];
  return word ? html`<span class=${`state ${tone}`}><${Icon} name=${tone === "good" ? "check" : "cross"} />${word}</span>` : null;
}

const RETRY_MS = 3000;

/** What went wrong while something was asked, and a way on; what is only away for a while is asked for again. */
export function Trouble({ problem, again }) {
  useEffect(() => {
    if (!again || !(problem?.code === "offline" || problem?.status === 503)) return undefined;
    const timer = setTimeout(again, RETRY_MS);
    return () => clearTimeout(timer);
  }, [problem, again]);
  if (!problem) return null;
  return html`<div class="notice bad" role="alert">
    <${Icon} name="alert" />
    <div><b>${sentence(problem.detail || "Something went wrong.")}</b>
      ${problem.requestId && html`<p class="small">Request ${problem.requestId}</p>`}</div>
    ${again && html`<button onClick=${again}>Try again</button>`}
  </div>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><h2>${title}</h2>${children}</div>`;
}

/** Grey lines in the place of what is on its way. */
export function Loading({ lines = 4 }) {
  return html`<div class="loading" role="status" aria-label="Loading">
    ${Array.from({ length: lines }, (_, line) => html`<span key=${line}></span>`)}
  </div>`;
}

export function Copy({ text, label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button class="quiet copy" onClick=${copy} aria-label=${done ? "Copied" : label} title=${label}>
    <${Icon} name=${done ? "check" : "copy"} />${done ? "Copied" : ""}
  </button>`;
}

/** Without https there is no clipboard but the old way. */
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  return undefined;
}

/** What may be wider than the page scrolls by itself, by keyboard too. */
export function Scroll({ label, kind = "", children }) {
  return html`<div class=${`scroll ${kind}`} tabindex="0" role="region" aria-label=${label}>${children}</div>`;
}

/** A block to read and copy. */
export function Code({ text, label }) {
  return html`<div class="code"><pre tabindex="0" role="region" aria-label=${label}>${text}</pre><${Copy} text=${text} label=${`Copy: ${label}`} /></div>`;
}

/** One of several panels, chosen by tabs with arrow keys (WAI-ARIA, tabs pattern). */
export function Tabs({ label, tabs, chosen, onChoose }) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (tabs.findIndex(([name]) => name === chosen) + step + tabs.length) % tabs.length;
    onChoose(tabs[next][0]);
    event.currentTarget.children[next].focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${move}>
    ${tabs.map(
      ([name, title, note]) => html`<button key=${name} role="tab" aria-selected=${String(name === chosen)}
        tabindex=${name === chosen ? 0 : -1} onClick=${() => onChoose(name)}>${title}${note && html` <small>${note}</small>`}</button>`,
    )}
  </div>`;
}
