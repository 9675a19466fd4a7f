// The same task or job as a `curl` and as a `khala` command.
import { html, useState } from "../ui.js";
import { Code, Tabs } from "./basics.js";

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** A word that no line of `text` is. */
function ending(text) {
  let word = "END";
  while (text.split("\n").includes(word)) word += "_";
  return word;
}

function heredoc(before, text) {
  const word = ending(text);
  return `${before} <<'${word}'\n${text}${text.endsWith("\n") ? "" : "\n"}${word}`;
}

export function curlOf(asked, path = "/tasks?wait=30") {
  const url = `${location.origin}/api/v1${path}`;
  const body = JSON.stringify(asked, null, 2);
  return `TOKEN=$(khala status --show-token)\n${heredoc(`curl -s -H "Authorization: Bearer $TOKEN" '${url}' --json @-`, body)}`;
}

/** With the options that `khala run` has; null when it has none for something that the task asks. */
export function khalaOf(task) {
  const words = ["khala", "run"];
  const before = [];
  const option = (name, value) => value !== undefined && value !== "" && value !== 0 && words.push(name, quoted(String(value)));
  option("--name", task.name);
  for (const [key, value] of Object.entries(task.labels ?? {})) option("--label", `${key}=${value}`);
  option("--priority", task.priority);
  for (const input of task.inputs ?? []) {
    if (input.content === undefined || input.encoding === "base64") return null;
    before.push(heredoc(`cat > ${quoted(input.path)}`, input.content));
    option("--input-file", input.path.includes("/") ? `${input.path}=${input.path}` : input.path);
  }
  if (task.archives?.length || task.depends_on?.length || task.execute?.stdin_file) return null;
  for (const { glob } of task.outputs ?? []) option("--output", glob);
  const env = task.execute?.env ?? task.compile?.env ?? {};
  for (const [key, value] of Object.entries(env)) option("--env", `${key}=${value}`);
  if (task.compile) {
    option("--compile", asShell(task.compile.command));
    option("--compile-limit", task.compile.limits?.wall_time);
  }
  if (!task.execute) return null;
  option("--limit", task.execute.limits?.wall_time);
  if (task.resources?.cpus && task.resources.cpus !== 1) option("--cpus", task.resources.cpus);
  option("--memory", task.resources?.memory);
  const { command, args = [], stdin } = task.execute;
  const run = typeof command === "string" ? ["bash", "-c", command] : [...command, ...args];
  if (stdin) words.push("-i");
  const line = `${words.join(" ")} -- ${run.map(quoted).join(" ")}`;
  return [...before, stdin ? heredoc(line, stdin) : line].join("\n");
}

const asShell = (command) => (typeof command === "string" ? command : command.map(quoted).join(" "));

export const Commands = ({ task }) => !task.execute && !task.compile ? html`<section class="card"><h2>The same from a terminal</h2>
  <p class="soft">Give a command, and the equal <code>khala</code> and <code>curl</code> commands are shown here.</p></section>` : html`<${Ways} title="khala run" khala=${khalaOf(task)} curl=${curlOf(task)} />`;

export const JobCommands = ({ job }) => html`<${Ways} title="khala job" curl=${curlOf(job, "/jobs")}
  khala=${heredoc("khala job submit --file -", JSON.stringify(job, null, 2))} />`;

function Ways({ title, khala, curl }) {
  const [kind, setKind] = useState("khala");
  return html`<section class="card">
    <h2>The same from a terminal</h2>
    <${Tabs} label="Ways" chosen=${kind} onChoose=${setKind} tabs=${[["khala", title], ["curl", "curl"]]} />
    ${kind === "curl" || khala
      ? html`<${Code} label=${`${kind} command`} text=${kind === "curl" ? curl : khala} />`
      : html`<p class="soft"><code>${title}</code> has no options for all of this task. Use curl.</p>`}
  </section>`;
}
