// The judicators: who leads, whose data are whole, and how many more may be lost.
import { number } from "../format.js";
import { useCluster } from "../live.js";
import { html, useState } from "../ui.js";
import { Loading, Scroll } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";

const REPLICAS = { primary: ["Primary", "check", "good"], secondary: ["Secondary", "check", "good"] };

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
    <${Scroll} label="Judicators"><table>
      <thead><tr><th>Name</th><th>State</th><th>etcd and Khala</th><th>MongoDB</th><th>Address</th><th>Restarts of its parts</th></tr></thead>
      <tbody>${cluster.judicators.map((one) => html`<tr key=${one.name}><td><b>${one.name}</b></td>
        <td>${one.leader ? html`<span class="state live"><${Icon} name="crown" />Leader</span>` : one.leaving ? html`<span class="state off"><${Icon} name="slash" />Leaving</span>` : html`<span class="state off">Stands by</span>`}</td>
        <td><${Mark} good=${one.live} words=${["Live", "Not heard of"]} /></td>
        <td><${Replica} state=${one.replica_state} voting=${one.voting} /></td>
        <td><code>${one.address}</code></td>
        <td>${Object.entries(one.restarts).filter(([, times]) => times).map(([part, times]) => `${part} ${times}`).join(", ") || "none"}</td></tr>`)}</tbody></table></${Scroll}>`;
}

function Mark({ good, words }) {
  return html`<span class=${`state ${good ? "good" : "bad"}`}><${Icon} name=${good ? "check" : "cross"} />${words[good ? 0 : 1]}</span>`;
}

function Replica({ state, voting }) {
  const [word, shape, tone] = REPLICAS[state] ?? [state ?? "Unknown", "alert", "bad"];
  if (REPLICAS[state] && !voting) return html`<span class="state off"><${Icon} name="wait" />${word}, without a vote</span>`;
  return html`<span class=${`state ${tone}`}><${Icon} name=${shape} />${word}</span>`;
}
