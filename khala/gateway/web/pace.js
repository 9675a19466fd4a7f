// How many tasks ended a second, over the last minutes: at first from when the newest of them ended, then from
// how their number grows. Pure.
import { OVER } from "./words.js";

export const WINDOW_S = 900;
const STEP_S = 10;

const stepOf = (atS) => Math.floor(atS / STEP_S) * STEP_S;

export class Pace {
  constructor() {
    this.ended = new Map();
    /** What was before is not known. */
    this.knownFromS = Infinity;
    this.last = null;
  }

  /** The newest tasks that are over, as a list has them; `all`: there are no others. */
  begin(tasks, all) {
    for (const task of tasks) this.add(Date.parse(task.finished_at) / 1000, 1);
    const oldest = Math.min(...tasks.map((task) => Date.parse(task.created_at) / 1000));
    this.knownFromS = all ? -Infinity : oldest;
  }

  /** The counts by state, at a moment; what ended since the last ones did so evenly. */
  note(counts, atS) {
    const total = OVER.reduce((sum, state) => sum + counts[state], 0);
    if (this.last && total > this.last.total) {
      const from = Math.max(this.last.atS, atS - WINDOW_S);
      const steps = Math.max(1, Math.ceil((atS - from) / STEP_S));
      for (let step = 0; step < steps; step += 1) this.add(atS - (step * (atS - from)) / steps, (total - this.last.total) / steps);
    }
    this.last = { total, atS };
  }

  add(atS, many) {
    const step = stepOf(atS);
    this.ended.set(step, (this.ended.get(step) ?? 0) + many);
  }

  /** [unix seconds, tasks a second] for each step of the window; null where it is not known. */
  points(nowS) {
    const end = stepOf(nowS);
    for (const step of this.ended.keys()) if (step < end - WINDOW_S) this.ended.delete(step);
    const points = [];
    for (let at = end - WINDOW_S; at <= end; at += STEP_S) {
      points.push([at, at < this.knownFromS - STEP_S ? null : (this.ended.get(at) ?? 0) / (at === end ? Math.max(1, nowS - at) : STEP_S)]);
    }
    return points;
  }
}
