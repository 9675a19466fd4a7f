// A job's form, the array that it describes, and what becomes of its template. Pure.
import { blank, fieldOf, taskOf } from "./form.js";

/** How values are given: the API's name of the array, and the form's main field for it. */
export const ARRAYS = { range: "stop", values: "list", matrix: "matrix", csv: "csv" };

export const blankJob = () => ({
  ...blank(),
  job: "", kind: "range", valueName: "value", start: "0", stop: "", step: "1", list: "", matrix: "", csv: "",
  maxParallel: "", maxFailures: "",
});

const lines = (text) => text.split("\n").map((line) => line.replace(/\r$/, "")).filter((line) => line.trim() !== "");
const numeric = (text) => (text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text));

/** The body of POST /jobs. What is not well formed goes to the gateway as it is, which says so. */
export function jobOf(form) {
  const bounds = { max_parallel: form.maxParallel, max_failures: form.maxFailures };
  return {
    ...(form.job ? { name: form.job } : {}),
    task: taskOf(form),
    array: arrayOf(form),
    ...Object.fromEntries(Object.entries(bounds).filter(([, text]) => text.trim() !== "").map(([name, text]) => [name, numeric(text)])),
  };
}

function arrayOf(form) {
  if (form.kind === "csv") return { csv: form.csv };
  if (form.kind === "matrix") return { matrix: matrixOf(form.matrix) };
  const name = form.valueName.trim();
  if (form.kind === "values") return { values: lines(form.list), name };
  const range = { start: form.start, stop: form.stop, step: form.step };
  return { range: Object.fromEntries(Object.entries(range).filter(([, text]) => text.trim() !== "").map(([key, text]) => [key, numeric(text)])), name };
}

/** `x = 1, 2` a line. */
function matrixOf(text) {
  return Object.fromEntries(
    lines(text).map((line) => {
      const [name, ...values] = line.split("=");
      return [name.trim(), values.join("=").split(",").map((value) => value.trim()).filter((value) => value !== "")];
    }),
  );
}

/** How many tasks there will be, and the values of the first and the last by name; null while they cannot be told. */
export function outlook(array) {
  const found = array.range ? ofRange(array) : array.values ? ofValues(array) : array.matrix ? ofMatrix(array.matrix) : ofTable(array.csv);
  return found?.total > 0 ? found : null;
}

function ofRange({ range: { start = 0, stop, step = 1 }, name }) {
  if (![start, stop, step].every(Number.isInteger) || !step) return null;
  const total = Math.ceil((stop - start) / step);
  return { total, first: { [name]: String(start) }, last: { [name]: String(start + (total - 1) * step) } };
}

const ofValues = ({ values, name }) => ({ total: values.length, first: { [name]: values[0] }, last: { [name]: values.at(-1) } });

function ofMatrix(matrix) {
  const columns = Object.entries(matrix);
  const pick = (at) => Object.fromEntries(columns.map(([name, values]) => [name, values.at(at)]));
  return { total: columns.length && columns.reduce((product, [, values]) => product * values.length, 1), first: pick(0), last: pick(-1) };
}

/** Cells in quotes may hold commas, quotes (twice) and line breaks (RFC 4180). */
function ofTable(text) {
  const rows = [[]];
  for (const [, quoted, plain, end] of text.replaceAll("\r\n", "\n").matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\n|$)/g)) {
    rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === "\n") rows.push([]);
    else if (end === "") break;
  }
  const [names, ...values] = rows.filter((row) => row.length > 1 || row[0]);
  if (!names) return null;
  const pick = (row) => Object.fromEntries(names.map((name, at) => [name.trim(), row?.[at] ?? ""]));
  return { total: values.length, first: pick(values[0]), last: pick(values.at(-1)) };
}

/** A template's text for these values: `{name}` and `{index}` are replaced, other braces stay. */
export function filled(text, values, index) {
  const known = new Map(Object.entries({ ...values, index: String(index) }));
  return text.replace(/\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (whole, name) => known.get(name) ?? whole);
}

/** The form's field for the one that the API names. */
export function jobFieldOf(path, form) {
  if (path.startsWith("array")) return ARRAYS[form.kind];
  if (path.startsWith("max_parallel")) return "maxParallel";
  if (path.startsWith("max_failures")) return "maxFailures";
  return path === "name" ? "job" : fieldOf(path.replace(/^task\./, ""));
}
