// Expected against actual output, line by line.
import { html } from "../ui.js";

const MOST_LINES = 2000;
const BLANK = /[ \t\r]+$/;

/** The lines of both, aligned by a longest common subsequence (Hunt and McIlroy, 1976), for texts of a size
 * for which that is quick; else side by side as they come. `[kind, expected, actual]`, kind same, changed,
 * missing or extra. Pure. */
export function compared(expected, actual) {
  const a = lines(expected);
  const b = lines(actual);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  const left = a.slice(head, a.length - tail);
  const right = b.slice(head, b.length - tail);
  const middle = left.length * right.length <= 1_000_000 ? aligned(left, right) : paired(left, right);
  const same = (part) => part.map((line) => ["same", line, line]);
  return [...same(a.slice(0, head)), ...merged(middle), ...same(a.slice(a.length - tail))];
}

const lines = (text) => {
  const found = text.split("\n");
  if (found.at(-1) === "") found.pop();
  return found;
};

function aligned(a, b) {
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const at = i * width + j;
      common[at] = a[i] === b[j] ? common[at + width + 1] + 1 : Math.max(common[at + width], common[at + 1]);
    }
  }
  const rows = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) rows.push(["same", a[i++], b[j++]]);
    else if (j >= b.length || (i < a.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) rows.push(["missing", a[i++], null]);
    else rows.push(["extra", null, b[j++]]);
  }
  return rows;
}

function paired(a, b) {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, at) => {
    if (at >= b.length) return ["missing", a[at], null];
    if (at >= a.length) return ["extra", null, b[at]];
    return [a[at] === b[at] ? "same" : "changed", a[at], b[at]];
  });
}

/** Runs of missing lines beside runs of extra ones are changed lines. */
function merged(rows) {
  const found = [];
  for (let at = 0; at < rows.length; ) {
    if (["same", "changed"].includes(rows[at][0])) {
      found.push(rows[at++]);
      continue;
    }
    const [missing, extra] = [[], []];
    while (at < rows.length && ["missing", "extra"].includes(rows[at][0])) {
      if (rows[at][0] === "missing") missing.push(rows[at][1]);
      else extra.push(rows[at][2]);
      at += 1;
    }
    found.push(...paired(missing, extra));
  }
  return found;
}

const MARKS = { same: "", changed: "≠", missing: "−", extra: "+" };
const SAID = { same: "", changed: "differs", missing: "missing", extra: "too much" };

export function Difference({ expected, actual, cut }) {
  const rows = compared(expected, actual);
  const wrong = rows.filter(([kind]) => kind !== "same").length;
  return html`<section class="card">
    <h2>Expected and actual output</h2>
    <p class="small">${wrong === 0 ? "Every line is the same." : `${wrong} of ${rows.length} lines differ.`}${cut ? " Only the beginning of the output is compared here." : ""}</p>
    <div class="scroll diff" tabindex="0" role="region" aria-label="Expected and actual output"><table>
      <thead><tr><th><span class="unseen">Line</span></th><th><span class="unseen">Same?</span></th><th>Expected</th><th>Actual</th></tr></thead>
      <tbody>${rows.slice(0, MOST_LINES).map(
        ([kind, left, right], at) => html`<tr key=${at} class=${kind}><td class="number">${at + 1}</td>
          <td><span aria-hidden="true">${MARKS[kind]}</span><span class="unseen">${SAID[kind]}</span></td>
          <td><${Line} text=${left} /></td><td><${Line} text=${right} /></td></tr>`,
      )}</tbody></table></div>
    ${rows.length > MOST_LINES && html`<p class="small">The first ${MOST_LINES} lines.</p>`}
  </section>`;
}

/** Blanks at the end are where outputs differ most often and show least. */
function Line({ text }) {
  if (text === null) return null;
  const end = text.match(BLANK)?.[0] ?? "";
  return html`<pre>${text.slice(0, text.length - end.length)}${end && html`<span class="blank" title="blanks">${end.replaceAll(" ", "·").replaceAll("\t", "→").replaceAll("\r", "␍")}</span>`}</pre>`;
}
