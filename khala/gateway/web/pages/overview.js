// What the cluster does right now, how fast, and how much more it can lose.
import { get, submit } from "../api.js";
import { EXAMPLES } from "../example.js";
import { count, number } from "../format.js";
import { useCluster } from "../live.js";
import { go } from "../router.js";
import { REASONS, STATES } from "../words.js";
import { html, throttle, useEffect, useLoaded, useMemo, useRef, useState } from "../ui.js";
import { Code, Loading, State, Time, Trouble } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { Icon } from "../parts/icons.js";
import { MoreExecutors } from "../parts/more_executors.js";

const WINDOW_S = 900;
const STEP_S = 10;

export function Overview() {
  const [now, setNow] = useState({});
  const known = useRef(null);
  const recent = useLoaded((signal) => get("/tasks?view=minimal&page_size=1000", signal), []);
  const again = useMemo(() => throttle(() => recent.reload(), 4000), [recent.reload]);
  useEffect(() => () => again.stop(), [again]);
  useCluster("stats,executors,cluster", {
    stats: (stats) => {
      if (known.current && known.current !== JSON.stringify(stats.tasks)) again();
      known.current = JSON.stringify(stats.tasks);
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
        <${Ended} rate=${stats?.throughput.finished_per_s ?? null} tasks=${recent.value?.tasks} problem=${recent.problem} again=${recent.reload} />
        <${Newest} tasks=${recent.value?.tasks} />
      </div>`}
      <div class="stack">
        <${Margin} cluster=${cluster} executors=${executors} />
        ${!empty && html`<${Failures} tasks=${recent.value?.tasks} />`}
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
  return html`<section class="card first-run">
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
  const notes = { running: executors ? `of ${count(slots, "slot")}` : "", pending: "in the queue" };
  return html`<ul class="tiles">
    ${Object.entries(STATES).map(([state, { word, shape, tone }]) => {
      if (state === "assigned") return null;
      const value = state === "running" && stats ? stats.tasks.running + stats.tasks.assigned : stats?.tasks[state];
      const states = state === "running" ? "assigned,running" : state;
      return html`<li key=${state}><a href=${`/tasks?state=${states}`}>
        <span class=${`state ${tone}`}><${Icon} name=${shape} />${word}</span>
        <b>${stats ? number(value) : "–"}</b><small>${notes[state] ?? ""}</small></a></li>`;
    })}
  </ul>`;
}

/** How many ended, over time; of the newest thousand tasks. */
function Ended({ rate, tasks, problem, again }) {
  const points = useMemo(() => tasks && perStep(tasks), [tasks]);
  if (problem && !tasks) return html`<section class="card"><${Trouble} problem=${problem} again=${again} /></section>`;
  if (!tasks) return html`<section class="card"><h2>Finished tasks a second</h2><${Loading} lines=${7} /></section>`;
  const now = rate === null ? "–" : rate.toFixed(rate < 10 ? 1 : 0);
  return html`<section class="card">
      <h2>Finished tasks a second <span class="more">now <b>${now}</b></span></h2>
      <p class="small">The last 15 minutes, of the newest ${number(1000)} tasks</p>
      <${Chart} points=${points} label=${`Finished tasks a second over the last 15 minutes; now ${now}`} />
    </section>`;
}

function perStep(tasks) {
  const end = Math.floor(Date.now() / 1000 / STEP_S) * STEP_S;
  const ended = new Map();
  for (const task of tasks) {
    if (!task.finished_at) continue;
    const step = Math.floor(Date.parse(task.finished_at) / 1000 / STEP_S) * STEP_S;
    ended.set(step, (ended.get(step) ?? 0) + 1);
  }
  const points = [];
  for (let at = end - WINDOW_S; at <= end; at += STEP_S) points.push([at, (ended.get(at) ?? 0) / STEP_S]);
  return points;
}

/** Why some of the newest thousand failed. */
function Failures({ tasks }) {
  if (!tasks) return null;
  const reasons = new Map();
  for (const task of tasks) {
    if (task.state === "failed") reasons.set(task.exit_reason, (reasons.get(task.exit_reason) ?? 0) + 1);
  }
  const sorted = [...reasons].sort(([, a], [, b]) => b - a);
  const most = sorted[0]?.[1] ?? 1;
  return html`<section class="card">
    <h2>Failures by reason</h2>
    ${sorted.length === 0 && html`<p class="soft"><${Icon} name="check" /> None of the newest ${number(tasks.length)} tasks failed.</p>`}
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

function Newest({ tasks }) {
  if (!tasks) return html`<section class="card"><h2>Newest tasks</h2><${Loading} lines=${6} /></section>`;
  return html`<section class="card">
    <h2>Newest tasks <a class="more" href="/tasks">All tasks</a></h2>
    <ul class="rows">
      ${tasks.slice(0, 8).map(
        (task) => html`<li key=${task.id}><${State} task=${task} />
          <a href=${`/tasks/${task.id}`}>${task.name || task.id}</a>
          <span class="soft end"><${Time} at=${task.created_at} /></span></li>`,
      )}
    </ul>
  </section>`;
}
