// What the cluster does right now, how fast, and how much more it can lose.
import { get, query, submit } from "../api.js";
import { EXAMPLES } from "../example.js";
import { count, number } from "../format.js";
import { useCluster } from "../live.js";
import { go } from "../router.js";
import { Pace, WINDOW_S } from "../pace.js";
import { OVER, REASONS, STATES } from "../words.js";
import { html, throttle, useEffect, useLoaded, useMemo, useRef, useState } from "../ui.js";
import { Code, Loading, State, Time, Trouble } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { Icon } from "../parts/icons.js";
import { MoreExecutors } from "../parts/more_executors.js";

const NEWEST = 8;
const MOST_FAILED = 100;
const MOST_ENDED = 200;
const AGAIN_MS = 3000;

/** Loads a list anew, soon after `changed()` was called. */
function useList(filters) {
  const list = useLoaded((signal) => get(`/tasks${query({ ...filters, view: "minimal" })}`, signal), []);
  const changed = useMemo(() => throttle(() => list.reload(), AGAIN_MS), [list.reload]);
  useEffect(() => () => changed.stop(), [changed]);
  return { ...list, changed };
}

export function Overview() {
  const [now, setNow] = useState({});
  const known = useRef(null);
  const newest = useList({ page_size: NEWEST });
  const failed = useList({ state: "failed", page_size: MOST_FAILED });
  const [pace] = useState(() => new Pace());
  const { value: before } = useLoaded((signal) => get(`/tasks${query({ state: OVER, page_size: MOST_ENDED, view: "minimal" })}`, signal), []);
  useMemo(() => before && pace.begin(before.tasks, !before.next_page_token), [before]);
  useCluster("stats,executors,cluster", {
    stats: (stats) => {
      const then = known.current?.tasks;
      if (then && JSON.stringify(then) !== JSON.stringify(stats.tasks)) newest.changed();
      if (then && then.failed !== stats.tasks.failed) failed.changed();
      known.current = stats;
      pace.note(stats.tasks, Date.now() / 1000);
      setNow((old) => ({ ...old, stats }));
    },
    executors: ({ executors }) => setNow((old) => ({ ...old, executors })),
    cluster: (cluster) => setNow((old) => ({ ...old, cluster })),
  });
  const { stats, executors, cluster } = now;
  const empty = stats?.total === 0;
  return html`
    <h1 class=${empty ? "" : "unseen"}>${empty ? "Welcome to your cluster" : "Overview"}</h1>
    ${executors?.length === 0 && html`<${MoreExecutors} cluster=${cluster} />`}
    ${empty && html`<${FirstRun} />`}
    <${Counts} stats=${stats} executors=${executors} />
    <div class=${empty ? "" : "columns"}>
      ${!empty && html`<div class="stack">
        <${Ended} rate=${stats?.throughput.finished_per_s ?? null} points=${before && stats && pace.points(Date.now() / 1000)} all=${!before?.next_page_token} />
        <${Newest} list=${newest} />
      </div>`}
      <div class="stack">
        <${Margin} cluster=${cluster} executors=${executors} />
        ${!empty && html`<${Failures} list=${failed} />`}
      </div>
    </div>
  `;
}

/** A program that is ready to run. */
function FirstRun() {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const { task } = EXAMPLES.cpp;
  const run = async () => {
    setBusy(true);
    try {
      go(`/tasks/${(await submit(task)).id}`);
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`<section class="card first-run acts">
    <div><h2>Run a first program</h2>
      <p>This C++ program reads a line and prints it. The cluster compiles it, runs it with${" "}
        <code>Hello World!</code> as its input, and checks what it printed.</p>
      <p class="actions"><button class="main" onClick=${run} disabled=${busy}><${Icon} name="run" /> ${busy ? "Sending…" : "Run this example"}</button>
        <a class="button" href="/new">Write your own</a></p>
      <${Trouble} problem=${problem} /></div>
    <${Code} label="the example's source, main.cpp" text=${task.inputs[0].content} />
  </section>`;
}

function Counts({ stats, executors }) {
  const slots = executors?.reduce((sum, one) => sum + one.slots, 0);
  const starting = stats?.tasks.assigned ? `${number(stats.tasks.assigned)} starting, ` : "";
  const notes = { running: executors ? `${starting}${count(slots, "slot")}` : "", pending: "in the queue" };
  return html`<ul class="tiles">
    ${Object.entries(STATES).map(([state, { word, shape, tone }]) => {
      if (state === "assigned") return null;
      const states = state === "running" ? "assigned,running" : state;
      return html`<li key=${state}><a href=${`/tasks?state=${states}`}>
        <span class=${`state ${tone}`}><${Icon} name=${shape} />${word}</span>
        <b>${stats ? number(stats.tasks[state]) : "–"}</b><small>${notes[state] ?? ""}</small></a></li>`;
    })}
  </ul>`;
}

/** How many ended, over time. */
function Ended({ rate, points, all }) {
  if (!points) return html`<section class="card pace"><h2>Finished tasks a second</h2><${Loading} lines=${7} /></section>`;
  const now = rate === null ? "–" : rate.toFixed(rate < 10 ? 1 : 0);
  return html`<section class="card pace">
      <h2>Finished tasks a second <span class="more">now <b>${now}</b></span></h2>
      <p class="small">The last ${WINDOW_S / 60} minutes${all ? "" : `; until this page was opened, of the newest ${number(MOST_ENDED)} tasks`}</p>
      <${Chart} points=${points} label=${`Finished tasks a second over the last ${WINDOW_S / 60} minutes; now ${now}`} />
    </section>`;
}

/** Why the newest of them failed. */
function Failures({ list: { value, problem, reload } }) {
  if (!value) return html`<section class="card"><h2>Failures by reason</h2>${problem ? html`<${Trouble} problem=${problem} again=${reload} />` : html`<${Loading} lines=${3} />`}</section>`;
  const { tasks, next_page_token: more } = value;
  const reasons = new Map();
  for (const task of tasks) reasons.set(task.exit_reason, (reasons.get(task.exit_reason) ?? 0) + 1);
  const sorted = [...reasons].sort(([, a], [, b]) => b - a);
  const most = sorted[0]?.[1] ?? 1;
  return html`<section class="card">
    <h2>Failures by reason</h2>
    ${more && html`<p class="small">Of the newest ${number(MOST_FAILED)} that failed</p>`}
    ${sorted.length === 0 && html`<p class="soft"><${Icon} name="check" /> No task failed.</p>`}
    <ul class="bars">
      ${sorted.map(
        ([reason, many]) => html`<li key=${reason}><a href=${`/tasks?state=failed&exit_reason=${reason}`}>${REASONS[reason] ?? reason}</a>
          <span class="number">${number(many)}</span><meter class="bad" max=${most} value=${many} aria-hidden="true"></meter></li>`,
      )}
    </ul>
  </section>`;
}

function Margin({ cluster, executors }) {
  if (!cluster) return html`<section class="card"><h2>Cluster</h2><${Loading} lines=${3} /></section>`;
  const live = cluster.judicators.filter((one) => one.live).length;
  const all = cluster.judicators.length;
  return html`<section class="card">
    <h2>Cluster</h2>
    <p class="figure"><b>${number(cluster.survives)}</b> more ${cluster.survives === 1 ? "judicator" : "judicators"} may be lost</p>
    <p class="small">${survival(cluster, all)}</p>
    <dl class="pairs">
      <dt><a href="/judicators">Judicators</a></dt><dd>${live} of ${all} live</dd>
      <dt>Leader</dt><dd>${cluster.leader ?? "none right now"}</dd>
      <dt><a href="/executors">Executors</a></dt><dd>${executors ? number(executors.length) : "–"}</dd>
      <dt>Access</dt><dd>${cluster.security === "secured" ? "by token" : "open to whoever reaches it"}</dd>
    </dl>
  </section>`;
}

function survival(cluster, all) {
  if (cluster.survives > 0) return "Tasks are kept and go on through that.";
  if (all < 3) return "With three judicators the cluster survives the loss of any one of them.";
  return "A majority is there, but not one more may go: bring back what is missing.";
}

function Newest({ list: { value, problem, reload } }) {
  if (!value) return html`<section class="card"><h2>Newest tasks</h2>${problem ? html`<${Trouble} problem=${problem} again=${reload} />` : html`<${Loading} lines=${NEWEST} />`}</section>`;
  return html`<section class="card">
    <h2>Newest tasks <a class="more" href="/tasks">All tasks</a></h2>
    <ul class="rows">
      ${value.tasks.map(
        (task) => html`<li key=${task.id}><${State} task=${task} />
          <a href=${`/tasks/${task.id}`}>${task.name || task.id}</a>
          <span class="soft end"><${Time} at=${task.created_at} /></span></li>`,
      )}
    </ul>
  </section>`;
}
