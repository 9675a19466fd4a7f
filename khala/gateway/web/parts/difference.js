// Expected against actual output, line by line.
import { html } from "../ui.js";
import { Scroll } from "./basics.js";

const MOST_LINES = 2000;
const BLANK = /[ \t\r]+$/;

/** The lines of both, aligned by a longest common subsequence (Hunt and McIlroy, 1976), for texts of a size
 * for which that is quick; else side by side as they come. `[kind, expected, actual]`, kind same, changed,
 * missing or extra. Pure. */
export function compared(expected, actual, checker = "exact") {
  const a = lines(expected);
  const b = lines(actual);
  const read = READ[checker] ?? READ.exact;
  const key = (line) => line && read(line);
  let head = 0;
  while (head < a.length && head < b.length && key(a[head]) === key(b[head])) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && key(a.at(-1 - tail)) === key(b.at(-1 - tail))) tail += 1;
  const left = a.slice(head, a.length - tail);
  const right = b.slice(head, b.length - tail);
  const middle = left.length * right.length <= 1_000_000 ? aligned(left, right, key) : paired(left, right, key);
  const same = (from, to) => from.map((line, at) => ["same", line, to[at]]);
  return [
    ...same(a.slice(0, head), b),
    ...merged(middle, key),
    ...same(a.slice(a.length - tail), b.slice(b.length - tail)),
  ];
}

/** What of a line counts, by the task's checker. */
const READ = {
  exact: (line) => line,
  trim: (line) => line.replace(BLANK, ""),
  tokens: (line) => line.trim().split(/\s+/).join(" "),
  float: (line) => line.trim().split(/\s+/).map((word) => (Number.isNaN(Number(word)) ? word : Number(word).toPrecision(9))).join(" "),
};

const lines = (text) => {
  const found = text.split("\n");
  if (found.at(-1) === "") found.pop();
  return found;
};

function aligned(left, right, key) {
  const a = left.map(key);
  const b = right.map(key);
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
    if (i < a.length && j < b.length && a[i] === b[j]) rows.push(["same", left[i++], right[j++]]);
    else if (j >= b.length || (i < a.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) rows.push(["missing", left[i++], null]);
    else rows.push(["extra", null, right[j++]]);
  }
  return rows;
}

function paired(a, b, key) {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, at) => {
    if (at >= b.length) return ["missing", a[at], null];
    if (at >= a.length) return ["extra", null, b[at]];
    return [key(a[at]) === key(b[at]) ? "same" : "changed", a[at], b[at]];
  });
}

/** Runs of missing lines beside runs of extra ones are changed lines. */
function merged(rows, key) {
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
    found.push(...paired(missing, extra, key));
  }
  return found;
}

const MARKS = { same: "", changed: "≠", missing: "−", extra: "+" };
const SAID = { same: "", changed: "differs", missing: "missing", extra: "too much" };

export function Difference({ expected, actual, checker, cut }) {
  const rows = compared(expected, actual, checker);
  const wrong = rows.filter(([kind]) => kind !== "same").length;
  return html`<section class="card">
    <h2>Expected and actual output</h2>
    <p class="small">${wrong === 0 ? "Every line is the same." : `${wrong} of ${rows.length} lines differ.`}${cut ? " Only the beginning of the output is compared here." : ""}</p>
    <${Scroll} label="Expected and actual output" kind="diff"><table>
      <thead><tr><th><span class="unseen">Line</span></th><th><span class="unseen">Same?</span></th><th>Expected</th><th>Actual</th></tr></thead>
      <tbody>${rows.slice(0, MOST_LINES).map(
        ([kind, left, right], at) => html`<tr key=${at} class=${kind}><td class="number">${at + 1}</td>
          <td><span aria-hidden="true">${MARKS[kind]}</span><span class="unseen">${SAID[kind]}</span></td>
          <td><${Line} text=${left} /></td><td><${Line} text=${right} /></td></tr>`,
      )}</tbody></table></${Scroll}>
    ${rows.length > MOST_LINES && html`<p class="small">The first ${MOST_LINES} lines.</p>`}
  </section>`;
}

/** Blanks at the end are where outputs differ most often and show least. */
function Line({ text }) {
  if (text === null) return null;
  const end = text.match(BLANK)?.[0] ?? "";
  return html`<pre>${text.slice(0, text.length - end.length)}${end && html`<span class="blank" title="blanks">${end.replaceAll(" ", "·").replaceAll("\t", "→").replaceAll("\r", "␍")}</span>`}</pre>`;
}
