// The same task or job as a `curl` and as a `khala` command.
import { heredoc, khalaOf } from "../khala_line.js";
import { html, useState } from "../ui.js";
import { Code, Tabs } from "./basics.js";

export function curlOf(asked, path = "/tasks?wait=30") {
  const url = `${location.origin}/api/v1${path}`;
  const body = JSON.stringify(asked, null, 2);
  return `TOKEN=$(khala status --show-token)\n${heredoc(`curl -s -H "Authorization: Bearer $TOKEN" '${url}' --json @-`, body)}`;
}

export const Commands = ({ task }) => !task.execute && !task.compile ? html`<section class="card"><h2>The same from a terminal</h2>
  <p class="soft">Give a command, and the equal <code>khala</code> and <code>curl</code> commands are shown here.</p></section>` : html`<${Ways} title="khala run" khala=${khalaOf(task)} curl=${curlOf(task)} />`;

export const JobCommands = ({ job }) => html`<${Ways} title="khala job" curl=${curlOf(job, "/jobs")}
  khala=${heredoc("khala job submit --file -", JSON.stringify(job, null, 2))} />`;

/** Without a `khala` command that says all of it, `curl` alone. */
function Ways({ title, khala, curl }) {
  const [chosen, setChosen] = useState("khala");
  const kind = khala ? chosen : "curl";
  return html`<section class="card">
    <h2>The same from a terminal</h2>
    ${khala
      ? html`<${Tabs} label="Ways" chosen=${kind} onChoose=${setChosen} tabs=${[["khala", title], ["curl", "curl"]]} />`
      : html`<p class="soft"><code>${title}</code> has no options for all of this task.</p>`}
    <${Code} label=${`${kind} command`} text=${kind === "curl" ? curl : khala} />
  </section>`;
}
