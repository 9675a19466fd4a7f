// The judicators: who leads, whose data are whole, and how many more may be lost.
import { duration, number } from "../format.js";
import { useCluster } from "../live.js";
import { html, useState } from "../ui.js";
import { Loading, Scroll } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";

/** Word, shape and tone of what a mongod is in its replica set. */
const REPLICAS = {
  primary: ["Primary", "check", "good"],
  secondary: ["Secondary", "check", "good"],
  startup: ["Starting", "start", "wait"],
  startup2: ["Copies the data", "wait", "wait"],
  recovering: ["Catches up", "wait", "wait"],
  rollback: ["Takes back what no majority has", "wait", "wait"],
  absent: ["No member yet", "wait", "wait"],
  down: ["Down", "cross", "bad"],
  "(not reachable/healthy)": ["Not reachable", "cross", "bad"],
};

export function Judicators() {
  const [cluster, setCluster] = useState(null);
  useCluster("cluster", { cluster: setCluster });
  if (!cluster) return html`<h1>Judicators</h1><${Loading} />`;
  return html`<header class="title"><h1>Judicators</h1></header>
    <section class=${`standing ${cluster.ready && cluster.leader ? (cluster.survives ? "good" : "warn") : "bad"}`}>
      <p class="big"><b>${number(cluster.survives)}</b> more may be lost</p>
      <p>${cluster.leader ? html`<b>${cluster.leader}</b> leads, in epoch ${cluster.epoch.generation}.${cluster.epoch.number}.` : "There is no leader right now; one is being elected."}
        ${cluster.judicators.length < 3 ? " Three judicators survive the loss of any one of them." : ""}</p>
    </section>
    <${Scroll} label="Judicators"><table class="members">
      <thead><tr><th>Name</th><th>State</th><th>etcd and Khala</th><th>MongoDB</th><th>Address</th><th>Restarts of its parts</th></tr></thead>
      <tbody>${cluster.judicators.map((one) => html`<tr key=${one.name}><td><b>${one.name}</b></td>
        <td data-title="State">${one.leader ? html`<span class="state live"><${Icon} name="crown" />Leader</span>` : one.leaving ? html`<span class="state off"><${Icon} name="slash" />Leaving</span>` : html`<span class="state off">Stands by</span>`}</td>
        <td data-title="etcd and Khala"><${Mark} good=${one.live} words=${["Live", "Not heard of"]} /></td>
        <td data-title="MongoDB"><${Replica} state=${one.replica_state} voting=${one.voting} lag=${one.replica_lag} /></td>
        <td data-title="Address"><code>${one.address}</code></td>
        <td data-title="Restarts">${restarts(one.restarts)}</td></tr>`)}</tbody></table></${Scroll}>`;
}

/** Each judicator counts its own, so those of others are not known here. */
function restarts(counts) {
  const parts = Object.entries(counts);
  if (!parts.length) return "–";
  return parts.filter(([, times]) => times).map(([part, times]) => `${part} ${times}`).join(", ") || "none";
}

function Mark({ good, words }) {
  return html`<span class=${`state ${good ? "good" : "bad"}`}><${Icon} name=${good ? "check" : "cross"} />${words[good ? 0 : 1]}</span>`;
}

/** Less than this many seconds behind is no news. */
const BEHIND_S = 2;

function Replica({ state, voting, lag }) {
  const [word, shape, tone] = REPLICAS[state] ?? [state ?? "Unknown", "alert", "bad"];
  if (tone === "good" && !voting) return html`<span class="state off"><${Icon} name="wait" />${word}, without a vote</span>`;
  return html`<span class=${`state ${tone}`}><${Icon} name=${shape} />${word}</span>
    ${state === "secondary" && lag !== null && html` <span class=${`nowrap ${lag < BEHIND_S ? "soft" : "state warn"}`}>${lag < BEHIND_S ? "up to date" : `${duration(lag)} behind`}</span>`}`;
}
