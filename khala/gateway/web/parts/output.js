// A task's output as it comes: one stream at a time, the newest of it, earlier parts on demand.
import { ask, BASE } from "../api.js";
import { bytes } from "../format.js";
import { Live } from "../live.js";
import { isOver, lastPhase, whole } from "../words.js";
import { html, useLayoutEffect, useRef, useState } from "../ui.js";
import { Tabs, Trouble } from "./basics.js";
import { Icon } from "./icons.js";
import { Screen } from "./screen.js";

const AT_FIRST = 256 * 1024;
const EARLIER = 128 * 1024;
const TITLES = { "execute/stdout": "Output", "execute/stderr": "Error output", "compile/stdout": "Compiler output", "compile/stderr": "Compiler errors" };

/** The streams of a task's phases, in the order in which people look at them. */
function streamsOf(task) {
  const phases = ["execute", "compile"].filter((phase) => task[phase]);
  return phases.flatMap((phase) => [`${phase}/stdout`, `${phase}/stderr`]);
}

/** The stream that says most right now. */
function telling(task) {
  if (!isOver(task)) return task.phase === "compile" && task.compile ? "compile/stderr" : `${task.execute ? "execute" : "compile"}/stdout`;
  const [phase, result] = lastPhase(task);
  const failed = task.state !== "succeeded" && result?.stderr?.size > 0;
  return `${phase}/${failed ? "stderr" : "stdout"}`;
}

function keptOf(task, stream) {
  const [phase, kind] = stream.split("/");
  return task.result?.[phase]?.[kind] ?? null;
}

export function Output({ task }) {
  const [chosen, setChosen] = useState("");
  const streams = streamsOf(task);
  const stream = chosen || (streams.includes(telling(task)) ? telling(task) : streams[0]);
  const size = (name) => {
    const kept = keptOf(task, name);
    return kept ? bytes(kept.size) : "";
  };
  return html`<section class="card output" aria-label="Output">
    <${Tabs} label="Streams" chosen=${stream} onChoose=${setChosen} tabs=${streams.map((name) => [name, TITLES[name], size(name)])} />
    <${Stream} key=${stream} task=${task} stream=${stream} />
  </section>`;
}

function Stream({ task, stream }) {
  const box = useRef(null);
  const screen = useRef(null);
  const [view, setView] = useState({ following: true, behind: 0, top: null });
  const [status, setStatus] = useState({ attempt: 0, ended: null, any: false });
  const [problem, setProblem] = useState(null);
  // What is over takes the room it needs; what is watched keeps its place to its end.
  const [fits] = useState(() => isOver(task));
  const kept = keptOf(task, stream);
  const [all] = useState(() => (fits && kept && !kept.truncated ? whole(kept) : null));
  const path = `/tasks/${task.id}/logs/${stream}`;
  // Before the browser draws, so that what came with the task takes its room at once.
  useLayoutEffect(() => {
    screen.current = new Screen(box.current, (next) => setView((old) => (same(old, next) ? old : next)));
    let live = null;
    if (all === null) live = follow(0);
    else {
      screen.current.append(all, 0);
      setStatus({ attempt: task.attempt, ended: { size: kept.size, written: kept.size }, any: kept.size > 0 });
    }
    return () => {
      live?.close();
      screen.current.close();
    };

    function follow(attempt) {
      const place = { attempt, next: null };
      return new Live(() => address(path, place), {
        output: (data, event) => {
          const [end, of] = event.lastEventId.split("@");
          Object.assign(place, { next: Number(end), attempt: Number(of ?? data.attempt) });
          screen.current.append(data.text ?? lossy(data.base64), data.offset);
          setStatus((old) => (old.any && old.attempt === data.attempt ? old : { attempt: data.attempt, ended: null, any: true }));
        },
        end: (data) => {
          setStatus((old) => ({ ...old, ended: data }));
          if (data.next_attempt && !["succeeded", "failed", "cancelled"].includes(data.state)) {
            screen.current.clear();
            live = follow(data.next_attempt);
          }
        },
      }, { beats: false });
    }
  }, [path]);

  const unborn = task.state === "pending" && !status.any;
  const earlier = async () => {
    const from = Math.max(0, view.top - EARLIER);
    try {
      const answer = await ask("GET", `${path}?offset=${from}&attempt=${status.attempt}`, { headers: { Range: `bytes=0-${view.top - from - 1}` } });
      const data = new Uint8Array(await answer.arrayBuffer());
      const cut = from > 0 ? data.indexOf(10) + 1 : 0;
      screen.current.prepend(new TextDecoder().decode(data.subarray(cut)), from + cut);
      setProblem(null);
    } catch (error) {
      setProblem(error);
    }
  };
  return html`
    <div class="toolbar">
      <span class="soft" role="status">${told(task, status, view)}</span>
      ${!(status.ended || isOver(task) || unborn) && html`<button class="quiet" aria-pressed=${String(view.following)} onClick=${() => screen.current.follow(!view.following)}>
        <${Icon} name=${view.following ? "pause" : "follow"} />${view.following ? "Pause" : "Follow"}</button>`}
      ${!unborn && html`<a class="button quiet" href=${BASE + path} download><${Icon} name="down" />Download</a>`}
    </div>
    <${Trouble} problem=${problem} />
    ${view.top > 0 && html`<button class="earlier" onClick=${earlier}>Load earlier output (${bytes(view.top)} before this)</button>`}
    <div class=${fits ? "screen fits" : "screen"} hidden=${all === ""} ref=${box} tabindex="0" role="log" aria-label=${TITLES[stream]} aria-live="off"></div>
  `;
}

const same = (a, b) => a.following === b.following && a.top === b.top && (a.behind > 0) === (b.behind > 0);

function address(path, { attempt, next }) {
  const of = attempt ? `&attempt=${attempt}` : "";
  return `${path}?follow=1${of}${next === null ? `&tail=${AT_FIRST}` : `&offset=${next}`}`;
}

function lossy(base64) {
  return new TextDecoder().decode(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
}

function told(task, { attempt, ended, any }, { following, behind }) {
  if (!following && behind > 0) return "Paused; there is more below";
  if (!following) return "Paused";
  const of = attempt > 1 ? ` of attempt ${attempt}` : "";
  if (ended && ended.written > ended.size) return `The end${of}; ${bytes(ended.written - ended.size)} of ${bytes(ended.written)} were not kept`;
  if (ended || isOver(task)) return any ? `The end${of}` : `Nothing was printed${of}`;
  if (task.state === "pending") return "It has not started yet";
  return any ? `Live${of}` : "Nothing was printed yet";
}
