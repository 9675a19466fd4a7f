// The executors: how full each is, how it keeps tasks apart, and whether it takes more.
import { post } from "../api.js";
import { bytes, count } from "../format.js";
import { useCluster } from "../live.js";
import { html, useState } from "../ui.js";
import { Loading, Time } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";
import { MoreExecutors } from "../parts/more_executors.js";
import { say } from "../parts/undo.js";

const MOST_SLOTS = 64;
const LEVELS = { none: "none", basic: "basic: own user and limits", strict: "strict: own file system and network too" };

export function Executors() {
  const [executors, setExecutors] = useState(null);
  const [cluster, setCluster] = useState(null);
  useCluster("executors,cluster", { executors: (body) => setExecutors(body.executors), cluster: setCluster });
  const slots = executors?.reduce((sum, one) => sum + one.slots, 0);
  return html`<header class="title"><h1>Executors</h1>
      ${executors?.length > 0 && html`<p class="soft">${count(executors.length, "executor")}, ${count(slots, "slot")}</p>`}</header>
    ${!executors && html`<${Loading} />`}
    ${executors?.length === 0 && html`<${MoreExecutors} cluster=${cluster} />`}
    <ul class="cards">${executors?.map((one) => html`<li key=${one.id} id=${one.id} class="card"><${Executor} executor=${one} /></li>`)}</ul>`;
}

function Executor({ executor }) {
  const [asked, setAsked] = useState(false);
  const drain = async () => {
    setAsked(true);
    try {
      await post(`/executors/${encodeURIComponent(executor.id)}/${executor.draining ? "undrain" : "drain"}`, {});
    } catch (problem) {
      say(problem.detail);
    }
    setAsked(false);
  };
  const labels = Object.entries(executor.labels);
  const level = ["strict", "basic", "none"].find((name) => executor.isolation.includes(name));
  const used = Math.min(executor.slots, executor.assigned);
  return html`<h2>${executor.id} <span class=${`state ${executor.draining ? "off" : "good"}`}><${Icon} name=${executor.draining ? "slash" : "check"} />${executor.draining ? "Takes no more" : "Takes tasks"}</span></h2>
    <p class="soft">${executor.hostname}, heard of <${Time} at=${executor.reported_at} /></p>
    <p class="slots" role="img" aria-label=${`${used} of ${executor.slots} slots in use`}>
      ${Array.from({ length: Math.min(executor.slots, MOST_SLOTS) }, (_, slot) => html`<i key=${slot} class=${slot < used ? "full" : ""}></i>`)}</p>
    <p class="small">${used} of ${count(executor.slots, "slot")} in use; ${count(executor.assigned, "task")} given to it</p>
    <dl class="pairs">
      <dt>Load</dt><dd>${executor.load.toFixed(2)}</dd>
      <dt>CPUs</dt><dd>${executor.resources.cpus}</dd>
      <dt>Memory</dt><dd>${bytes(executor.resources.memory)}</dd>
      <dt>Isolation</dt><dd>${LEVELS[level] ?? "unknown"}</dd>
      ${labels.length > 0 && html`<dt>Labels</dt><dd>${labels.map(([key, value]) => html`<span class="chip">${key}=${value}</span> `)}</dd>`}
    </dl>
    ${executor.running.length > 0 && html`<details><summary>Running (${executor.running.length})</summary><ul>${executor.running.map((id) => html`<li key=${id}><a href=${`/tasks/${id}`}><code>${id}</code></a></li>`)}</ul></details>`}
    ${Object.keys(executor.layers).length > 0 && html`<details><summary>How it keeps tasks apart</summary><dl class="pairs">${Object.entries(executor.layers).map(([name, told]) => html`<dt>${name}</dt><dd>${told || "yes"}</dd>`)}</dl></details>`}
    <p class="actions"><a class="button quiet" href=${`/tasks?executor=${encodeURIComponent(executor.id)}`}>Its tasks</a>
      <button class="operates" onClick=${drain} disabled=${asked}>${executor.draining ? "Let it take tasks" : "Drain"}</button></p>`;
}
