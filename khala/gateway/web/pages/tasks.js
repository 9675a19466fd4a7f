// Every task, page by page from the gateway: the filters are the address, and the newest page is live.
import { post, query } from "../api.js";
import { count } from "../format.js";
import { go, route } from "../router.js";
import { isOver, REASONS, STATES } from "../words.js";
import { html, useState, useStore } from "../ui.js";
import { Empty, Loading, Trouble } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";
import { Pages, usePaged } from "../parts/paged.js";
import { TaskTable } from "../parts/task_table.js";
import { soon } from "../parts/undo.js";

const PAGE = 50;
const FILTERS = ["state", "user", "label", "executor", "exit_reason", "name_prefix", "job_id", "created_after", "created_before"];
const AT_A_TIME = 6;

export function Tasks() {
  const { search } = useStore(route);
  const filters = Object.fromEntries([...new URLSearchParams(search)].filter(([name]) => FILTERS.includes(name)));
  const key = JSON.stringify(filters);
  return html`<header class="title"><h1>Tasks</h1><p class="actions acts"><a class="button main" href="/new"><${Icon} name="plus" />New task</a></p></header>
    <${Filters} key=${`f${key}`} filters=${filters} />
    <${List} key=${key} filters=${filters} />`;
}

function apply(filters) {
  go(`/tasks${query(filters)}`, { replace: true });
}

function Filters({ filters }) {
  const [more, setMore] = useState(["user", "label", "executor", "exit_reason", "created_after", "created_before"].some((name) => filters[name]));
  const chosen = (filters.state ?? "").split(",").filter(Boolean);
  const toggle = (state) => {
    const next = chosen.includes(state) ? chosen.filter((one) => one !== state) : [...chosen, state];
    apply({ ...filters, state: next.join(",") });
  };
  const find = (event) => {
    event.preventDefault();
    const values = Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, value.trim()]));
    const { find: text, ...rest } = values;
    if (/^[0-9a-f]{24}$/.test(text)) {
      go(`/tasks/${text}`);
      return;
    }
    for (const name of ["created_after", "created_before"]) if (rest[name]) rest[name] = new Date(rest[name]).toISOString();
    apply({ state: filters.state, job_id: filters.job_id, ...rest, name_prefix: text });
  };
  return html`<form class="filters" role="search" onSubmit=${find}>
    <div class="find"><label class="unseen" for="find">Name or id</label>
      <input id="find" name="find" type="search" placeholder="Name or id" value=${filters.name_prefix ?? ""} />
      <button><${Icon} name="search" />Find</button>
      <button type="button" class="quiet" aria-expanded=${String(more)} aria-controls="more" onClick=${() => setMore(!more)}>${more ? "Fewer filters" : "More filters"}</button>
      ${Object.keys(filters).length > 0 && html`<a class="button quiet" href="/tasks">Clear</a>`}</div>
    ${filters.job_id && html`<p class="of">Of <a href=${`/jobs/${encodeURIComponent(filters.job_id)}`}>job ${filters.job_id.slice(-6)}</a>
      <button type="button" class="quiet" onClick=${() => apply({ ...filters, job_id: "" })}>Of all</button></p>`}
    <div class="chips" role="group" aria-label="States">${Object.entries(STATES).map(
      ([state, { word, shape, tone }]) => html`<button type="button" key=${state} class=${`chip ${tone}`} aria-pressed=${String(chosen.includes(state))} onClick=${() => toggle(state)}><${Icon} name=${shape} />${word}</button>`,
    )}</div>
    <div id="more" class="more-filters" hidden=${!more}>
      <label>User id <input name="user" inputmode="numeric" value=${filters.user ?? ""} /></label>
      <label>Label <input name="label" placeholder="key=value" value=${filters.label ?? ""} /></label>
      <label>Executor <input name="executor" value=${filters.executor ?? ""} /></label>
      <label>Ended by <select name="exit_reason" value=${filters.exit_reason ?? ""}><option value="">anything</option>
        ${Object.entries(REASONS).map(([reason, title]) => html`<option key=${reason} value=${reason}>${title}</option>`)}</select></label>
      <label>Created after <input type="datetime-local" name="created_after" value=${local(filters.created_after)} /></label>
      <label>Created before <input type="datetime-local" name="created_before" value=${local(filters.created_before)} /></label>
    </div>
  </form>`;
}

/** An RFC 3339 time as the browser's field has it: local, without a zone. */
function local(iso) {
  if (!iso || Number.isNaN(Date.parse(iso))) return "";
  const at = new Date(iso);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

function List({ filters }) {
  const [selected, setSelected] = useState(new Set());
  const paged = usePaged((token) => `/tasks${query({ ...filters, view: "minimal", page_size: PAGE, page_token: token })}`);
  const { value, problem, reload, stats } = paged;
  if (problem && !value) return html`<${Trouble} problem=${problem} again=${reload} />`;
  if (!value) return html`<${Loading} lines=${10} />`;
  const { tasks } = value;
  if (!tasks.length && paged.first) return html`<${Nothing} filtered=${Object.keys(filters).length > 0} />`;
  return html`
    ${problem && html`<${Trouble} problem=${problem} again=${reload} />`}
    <${Bulk} tasks=${tasks} selected=${selected} setSelected=${setSelected} reload=${reload} total=${Object.keys(filters).length ? null : stats?.total} />
    <${TaskTable} tasks=${tasks} label="List of tasks" selected=${selected} setSelected=${setSelected} />
    <${Pages} paged=${paged} label="Pages of the list" />`;
}

function Nothing({ filtered }) {
  return filtered
    ? html`<${Empty} title="No task is like that"><p><a class="button" href="/tasks">Show all tasks</a></p></${Empty}>`
    : html`<${Empty} title="No tasks yet"><p>What is submitted appears here.</p><p class="acts"><a class="button main" href="/new">New task</a></p></${Empty}>`;
}

function Bulk({ tasks, selected, setSelected, reload, total }) {
  const open = tasks.filter((task) => !isOver(task) && !task.cancel_requested);
  const chosen = open.filter((task) => selected.has(task.id));
  const all = open.length > 0 && chosen.length === open.length;
  const cancel = () => {
    setSelected(new Set());
    soon(`${count(chosen.length, "task")} cancelled in 5 seconds`, async (more) => {
      const queue = [...chosen];
      const worker = async () => {
        for (let task = queue.pop(); task; task = queue.pop()) await post(`/tasks/${task.id}/cancel`, {}, more).catch(() => {});
      };
      await Promise.all(Array.from({ length: AT_A_TIME }, worker));
      reload();
    });
  };
  return html`<div class="bulk">
    <label class="check acts"><input type="checkbox" checked=${all} disabled=${!open.length} onChange=${() => setSelected(all ? new Set() : new Set(open.map(({ id }) => id)))} /> Select what is not finished</label>
    <button class="danger acts" disabled=${!chosen.length} onClick=${cancel}><${Icon} name="slash" />Cancel ${chosen.length || ""}</button>
    <span class="soft end">${total ? count(total, "task") : ""}</span>
  </div>`;
}
