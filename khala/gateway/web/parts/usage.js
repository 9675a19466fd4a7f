// What a finished task used, beside what it was allowed.
import { bytes, duration, number } from "../format.js";
import { html } from "../ui.js";

const RESOURCES = {
  wall_time: ["Time", duration],
  cpu_time: ["CPU time", duration],
  memory: ["Memory", bytes],
  processes: ["Processes", number],
  output_size: ["Output", bytes],
  disk: ["Disk", bytes],
};

/** `usage` as /explain has it: by phase and resource `{ used, limit }`. */
export function Usage({ usage, enforced }) {
  const phases = Object.entries(usage ?? {});
  if (!phases.length) return null;
  const free = phases.some(([, resources]) => Object.values(resources).some(({ used, limit }) => used !== null && !limit));
  return html`<section class="card">
    <h2>Used, of what was allowed</h2>
    ${phases.map(([phase, resources]) => html`<h3 key=${phase}>${phase === "compile" ? "Compile" : "Execute"}</h3>
      <ul class="bars">${Object.entries(resources).map(([name, { used, limit }]) => used !== null && html`<${Bar} key=${name} name=${name} used=${used} limit=${limit} />`)}</ul>`)}
    ${free && html`<p class="small">Without a bar: no limit was asked for.</p>`}
    ${enforced?.length > 0 && html`<p class="small">Held by the executor: ${enforced.join(", ")}</p>`}
  </section>`;
}

function Bar({ name, used, limit }) {
  const [title, shown] = RESOURCES[name];
  const share = limit ? used / limit : null;
  const level = share === null ? "none" : share >= 0.98 ? "bad" : share > 0.8 ? "warn" : "fine";
  return html`<li><span>${title}</span>
    <span class="number">${shown(used)}${limit ? ` of ${shown(limit)} (${Math.round(share * 100)} %)` : ""}</span>
    ${limit ? html`<meter class=${level} max=${limit} value=${Math.min(used, limit)} aria-label=${`${title}: ${shown(used)} of ${shown(limit)}`}></meter>` : ""}</li>`;
}
