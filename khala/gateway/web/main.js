// The beginning: who is signed in, and which view the address names.
import { begin, session } from "./session.js";
import { route } from "./router.js";
import { html, render, useEffect, useRef, useStore } from "./ui.js";
import { Shell } from "./parts/shell.js";
import { SignIn } from "./pages/sign_in.js";
import { Overview } from "./pages/overview.js";
import { Tasks } from "./pages/tasks.js";
import { TaskPage } from "./pages/task.js";
import { Jobs } from "./pages/jobs.js";
import { JobPage } from "./pages/job.js";
import { NewJob } from "./pages/new_job.js";
import { NewTask } from "./pages/new_task.js";
import { Executors } from "./pages/executors.js";
import { Judicators } from "./pages/judicators.js";

const VIEWS = {
  overview: [Overview, "Overview"],
  tasks: [Tasks, "Tasks"],
  task: [TaskPage, "Task"],
  jobs: [Jobs, "Jobs"],
  newjob: [NewJob, "New job"],
  job: [JobPage, "Job"],
  new: [NewTask, "New task"],
  executors: [Executors, "Executors"],
  judicators: [Judicators, "Judicators"],
  nowhere: [Nowhere, "Not found"],
};

const FORMS = ["new", "newjob"];

function OnlyLooks() {
  return html`<section class="empty"><h1>Your role only looks</h1>
    <p>A viewer reads everything and runs nothing. An administrator can make you a user.</p>
    <p class="actions"><a class="button main" href="/tasks">To the tasks</a></p></section>`;
}

function Nowhere() {
  return html`<section class="empty"><h1>There is nothing at this address</h1>
    <p>No page of this site is at <code>${location.pathname}</code>.</p>
    <p class="actions"><a class="button main" href="/">To the overview</a><a class="button" href="/tasks">Find a task</a></p></section>`;
}

function App() {
  const { status, me } = useStore(session);
  const { name, id } = useStore(route);
  const [View, title] = VIEWS[name];
  const shown = useRef(null);
  useEffect(() => {
    document.title = `${id ? `${title} ${id.slice(-6)}` : title} · Khala`;
    // Who moves by keyboard or listens goes on at the new page's beginning.
    if (shown.current && shown.current !== name + id) document.getElementById("main")?.focus({ preventScroll: true });
    shown.current = name + id;
  }, [name, id]);
  if (status !== "in") return html`<${SignIn} />`;
  if (me.role === "viewer" && FORMS.includes(name)) return html`<${Shell} view=${name}><${OnlyLooks} /></${Shell}>`;
  return html`<${Shell} view=${name}><${View} key=${name + id} id=${id} /></${Shell}>`;
}

render(html`<${App} />`, document.getElementById("app"));
begin();
