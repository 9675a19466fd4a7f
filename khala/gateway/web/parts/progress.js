// How far a job is: how many of its tasks are in which state.
import { count, number } from "../format.js";
import { isOver, OVER, STATES } from "../words.js";
import { html, throttle, useEffect } from "../ui.js";
import { Icon } from "./icons.js";

/** How many of a job's tasks are over. */
export const finishedOf = (job) => OVER.reduce((sum, state) => sum + job.counts[state], 0);

const AGAIN_MS = 1000;
const OPEN = ["pending", "assigned", "running"];

/** Calls `reload` now and then while one of these jobs ends: no task of it is open any more, and its own end, which
 * changes no count of tasks, is yet to be noted. */
export function useEnding(jobs, reload) {
  const ending = jobs.some((job) => !isOver(job) && OPEN.every((state) => job.counts[state] === 0));
  useEffect(() => {
    if (!ending) return undefined;
    const again = throttle(reload, AGAIN_MS);
    const timer = setInterval(again, AGAIN_MS);
    return () => {
      clearInterval(timer);
      again.stop();
    };
  }, [ending, reload]);
}

/** In the order of the bar; those that start and run are one. */
export function partsOf({ counts, total, created }) {
  const parts = ["succeeded", "failed", "cancelled"].map((state) => ({ state, states: state, many: counts[state] }));
  parts.push({ state: "running", states: "assigned,running", many: counts.assigned + counts.running });
  parts.push({ state: "pending", states: "pending", many: counts.pending });
  return { parts, unmade: Math.max(0, total - created) };
}

export function Progress({ job }) {
  const { parts, unmade } = partsOf(job);
  const told = parts.filter(({ many }) => many).map(({ state, many }) => `${number(many)} ${STATES[state].word.toLowerCase()}`);
  return html`<span class="progress" role="img" aria-label=${`${number(finishedOf(job))} of ${count(job.total, "task")} finished${told.length ? `: ${told.join(", ")}` : ""}`}>
    ${parts.map(({ state, many }) => many > 0 && html`<span key=${state} class=${`part ${state}`} style=${{ flexGrow: many }}></span>`)}
    ${unmade > 0 && html`<span key="unmade" class="part" style=${{ flexGrow: unmade }}></span>`}
  </span>`;
}

/** The same in words, each part leading to its tasks. */
export function Counts({ job }) {
  const { parts, unmade } = partsOf(job);
  return html`<ul class="counts">
    ${parts.map(({ state, states, many }) => {
      const { word, shape, tone } = STATES[state];
      return html`<li key=${state}><a href=${`/tasks?job_id=${job.id}&state=${states}`}><span class=${`state ${tone}`}><${Icon} name=${shape} />${word}</span> <b>${number(many)}</b></a></li>`;
    })}
    ${unmade > 0 && html`<li class="soft">Still to be made <b>${number(unmade)}</b></li>`}
  </ul>`;
}
