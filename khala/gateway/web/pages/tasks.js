// Every task, page by page from the gateway: the filters are the address, and the newest page is live.
import { get, post, query } from "../api.js";
import { between, count, duration } from "../format.js";
import { useCluster } from "../live.js";
import { go, route } from "../router.js";
import { isOver, REASONS, STATES, summary } from "../words.js";
import { html, throttle, useEffect, useLoaded, useMemo, useRef, useState, useStore } from "../ui.js";
import { Empty, Loading, Scroll, State, Time, Trouble } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";
import { soon } from "../parts/undo.js";

const PAGE = 50;
const FILTERS = ["state", "user", "label", "executor", "exit_reason", "name_prefix", "job_id", "created_after", "created_before"];
const AT_A_TIME = 6;

export function Tasks() {
  const { search } = useStore(route);
  const filters = Object.fromEntries([...new URLSearchParams(search)].filter(([name]) => FILTERS.includes(name)));
  const key = JSON.stringify(filters);
  return html`<header class="title"><h1>Tasks</h1><p class="actions"><a class="button main" href="/new"><${Icon} name="plus" />New task</a></p></header>
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
    apply({ state: filters.state, ...rest, name_prefix: text });
  };
  return html`<form class="filters" role="search" onSubmit=${find}>
    <div class="find"><label class="unseen" for="find">Name or id</label>
      <input id="find" name="find" type="search" placeholder="Beginning of a name, or an id" value=${filters.name_prefix ?? ""} />
      <button><${Icon} name="search" />Find</button>
      <button type="button" class="quiet" aria-expanded=${String(more)} aria-controls="more" onClick=${() => setMore(!more)}>${more ? "Fewer filters" : "More filters"}</button>
      ${Object.keys(filters).length > 0 && html`<a class="button quiet" href="/tasks">Clear</a>`}</div>
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

/** `tokens` are those of the pages before, the newest page's is "". */
function List({ filters }) {
  const [tokens, setTokens] = useState([""]);
  const [selected, setSelected] = useState(new Set());
  const token = tokens.at(-1);
  const { value, problem, loading, reload } = useLoaded(
    (signal) => get(`/tasks${query({ ...filters, view: "minimal", page_size: PAGE, page_token: token })}`, signal),
    [token],
  );
  const again = useMemo(() => throttle(reload, 1500), [reload]);
  useEffect(() => () => again.stop(), [again]);
  const newest = useRef(again);
  newest.current = token === "" ? again : null;
  const known = useRef("");
  const [stats, setStats] = useState(null);
  useCluster("stats", {
    stats: (now) => {
      const counts = JSON.stringify(now.tasks);
      if (known.current && known.current !== counts) newest.current?.();
      known.current = counts;
      setStats(now);
    },
  });
  if (problem && !value) return html`<${Trouble} problem=${problem} again=${reload} />`;
  if (!value) return html`<${Loading} lines=${10} />`;
  const { tasks, next_page_token: next } = value;
  if (!tasks.length && tokens.length === 1) return html`<${Nothing} filtered=${Object.keys(filters).length > 0} />`;
  return html`
    ${problem && html`<${Trouble} problem=${problem} again=${reload} />`}
    <${Bulk} tasks=${tasks} selected=${selected} setSelected=${setSelected} reload=${reload} total=${Object.keys(filters).length ? null : stats?.total} />
    <${Table} tasks=${tasks} selected=${selected} setSelected=${setSelected} />
    <nav class="pages" aria-label="Pages of the list">
      <button disabled=${tokens.length === 1 || loading} onClick=${() => setTokens(tokens.slice(0, -1))}>Newer</button>
      <span class="soft">Page ${tokens.length}</span>
      <button disabled=${!next || loading} onClick=${() => setTokens([...tokens, next])}>Older</button>
    </nav>`;
}

function Nothing({ filtered }) {
  return filtered
    ? html`<${Empty} title="No task is like that"><p><a class="button" href="/tasks">Show all tasks</a></p></${Empty}>`
    : html`<${Empty} title="No tasks yet"><p>What is submitted appears here.</p><p><a class="button main" href="/new">New task</a></p></${Empty}>`;
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
    <label class="check"><input type="checkbox" checked=${all} disabled=${!open.length} onChange=${() => setSelected(all ? new Set() : new Set(open.map(({ id }) => id)))} /> Select what is not finished</label>
    <button class="danger" disabled=${!chosen.length} onClick=${cancel}><${Icon} name="slash" />Cancel ${chosen.length || ""}</button>
    <span class="soft end">${total ? count(total, "task") : ""}</span>
  </div>`;
}

function Table({ tasks, selected, setSelected }) {
  const toggle = (id) => {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    setSelected(next);
  };
  return html`<${Scroll} label="List of tasks"><table class="tasks">
    <thead><tr><th><span class="unseen">Selected</span></th><th>State</th><th>Task</th><th>Result</th><th>User</th><th>Executor</th><th>Created</th><th class="number">Took</th></tr></thead>
    <tbody>${tasks.map((task) => html`<tr key=${task.id}>
      <td class="pick">${!isOver(task) && html`<input type="checkbox" aria-label=${`Select ${task.name || task.id}`} checked=${selected.has(task.id)} onChange=${() => toggle(task.id)} />`}</td>
      <td class="state-cell"><${State} task=${task} /></td>
      <td class="name"><a href=${`/tasks/${task.id}`}>${task.name || html`<code>${task.id}</code>`}</a></td>
      <td class="soft result">${summary(task)}</td>
      <td class="user">${task.owner || ""}${task.user ? ` ${task.user}` : ""}</td>
      <td class="executor">${task.executor ?? ""}</td>
      <td class="created"><${Time} at=${task.created_at} /></td>
      <td class="number took">${task.started_at && task.finished_at ? duration(between(task.started_at, task.finished_at)) : ""}</td></tr>`)}</tbody></table></${Scroll}>`;
}
