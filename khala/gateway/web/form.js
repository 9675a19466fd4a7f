// The form's fields and the task that they describe, both ways. Pure.
import { lean, MEANT } from "./spec.js";

const MIB = 1024 * 1024;

export const blank = () => ({
  name: "", user: "", labels: "", priority: "", memory: "", cpus: "", outputs: "", checker: "", isolation: "basic", network: false,
  sourceName: "", sourceText: "", compileFile: null, compileCommand: "", compileTimeout: "",
  dataName: "", dataText: "", dataFile: null,
  executeCommand: "", executeInput: "", executeTimeout: "", expected: "",
  more: false,
  /** What the form has no field for: kept as it was. */
  rest: {},
});

const numeric = (text) => (text.trim() === "" ? undefined : Number.isNaN(Number(text)) ? text : Number(text));
const listed = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);

/** The body of POST /tasks. What is not well formed goes to the gateway as it is, which says so. */
export function taskOf(form) {
  const { rest } = form;
  const memory = numeric(form.memory);
  const bounded = typeof memory === "number" ? Math.round(memory * MIB) : memory;
  const inputs = [...(rest.inputs ?? []), ...input(form, "source", form.compileFile, ""), ...input(form, "data", form.dataFile, "data/")];
  const archives = [...(rest.archives ?? []), ...archive(form.compileFile, ""), ...archive(form.dataFile, "data")];
  const limits = (old, timeout) => lean({ ...old?.limits, wall_time: numeric(timeout), memory: bounded }, ["wall_time", ...Object.keys(old?.limits ?? {})]);
  const phase = (old, command, timeout) =>
    command === "" ? null : lean({ ...old, command, limits: limits(old, timeout) }, ["command"]);
  const compile = phase(rest.compile, words(form.compileCommand, rest.compile), form.compileTimeout);
  const execute = phase(rest.execute, words(form.executeCommand, rest.execute), form.executeTimeout);
  if (execute && form.executeInput) execute.stdin = form.executeInput;
  const task = {
    ...rest,
    name: form.name,
    user: numeric(form.user),
    labels: Object.fromEntries(listed(form.labels).map((pair) => [pair.split("=")[0], pair.split("=").slice(1).join("=")])),
    priority: numeric(form.priority),
    inputs,
    archives,
    compile,
    execute,
    resources: lean({ ...rest.resources, cpus: numeric(form.cpus) }),
    outputs: listed(form.outputs).map((glob) => rest.outputs?.find((one) => one.glob === glob) ?? { glob }),
    checker: form.expected ? form.checker : "",
    isolation: form.isolation === "basic" ? "" : form.isolation,
    network: form.network,
    expected_output: form.expected || undefined,
  };
  return lean(task, MEANT);
}

/** A command that was a list of words, and was not touched, stays one. */
const words = (text, old) => (Array.isArray(old?.command) && joined(old.command) === text ? old.command : text);
const joined = (command) => (Array.isArray(command) ? command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(" ") : command);

function input(form, name, file, folder) {
  if (file && !file.zip) return [{ path: folder + file.name, ...(file.sha256 ? { file_id: file.sha256 } : { content: file.content }) }];
  if (file || (!form[`${name}Name`] && !form[`${name}Text`])) return [];
  return [{ path: folder + form[`${name}Name`], content: form[`${name}Text`] }];
}

const archive = (file, path) => (file?.zip ? [lean({ file_id: file.sha256, path })] : []);

/** The form that describes `task`. Its first text at the top is the source, its first in data the data. */
export function formOf(task) {
  const inputs = task.inputs ?? [];
  const plain = (one) => one.content !== undefined && one.encoding !== "base64" && !one.mode;
  const source = inputs.find((one) => plain(one) && !one.path.includes("/"));
  const data = inputs.find((one) => plain(one) && /^data\/[^/]+$/.test(one.path));
  const memory = task.execute?.limits?.memory ?? task.compile?.limits?.memory;
  const text = (value) => (value === undefined || value === null ? "" : String(value));
  const form = {
    ...blank(),
    name: text(task.name),
    user: text(task.user),
    labels: Object.entries(task.labels ?? {}).map((pair) => pair.join("=")).join(", "),
    priority: text(task.priority),
    memory: memory ? text(memory / MIB) : "",
    cpus: text(task.resources?.cpus),
    outputs: (task.outputs ?? []).map(({ glob }) => glob).join(", "),
    checker: text(task.checker === "trim" ? "" : task.checker),
    isolation: task.isolation || "basic",
    network: Boolean(task.network),
    sourceName: text(source?.path),
    sourceText: text(source?.content),
    dataName: text(data?.path.slice("data/".length)),
    dataText: text(data?.content),
    compileCommand: task.compile ? joined(task.compile.command) : "",
    compileTimeout: text(task.compile?.limits?.wall_time),
    executeCommand: task.execute ? joined(task.execute.command) : "",
    executeInput: text(task.execute?.stdin),
    executeTimeout: text(task.execute?.limits?.wall_time),
    expected: text(task.expected_output),
  };
  const { stdin, ...execute } = task.execute ?? {};
  form.rest = { ...task, inputs: inputs.filter((one) => one !== source && one !== data), ...(task.execute ? { execute } : {}) };
  form.more = ["labels", "priority", "memory", "cpus", "outputs", "checker"].some((name) => form[name]) || form.network || form.isolation !== "basic";
  return form;
}

const FIELDS = [
  [/^name/, "name"], [/^user/, "user"], [/^labels/, "labels"], [/^priority/, "priority"], [/memory/, "memory"], [/cpus/, "cpus"],
  [/^outputs/, "outputs"], [/^checker/, "checker"], [/^isolation/, "isolation"], [/^compile\.limits/, "compileTimeout"],
  [/^execute\.limits/, "executeTimeout"], [/^compile/, "compileCommand"], [/^execute\.stdin/, "executeInput"], [/^execute/, "executeCommand"],
  [/^inputs/, "sourceName"], [/^expected_output/, "expected"],
];

/** The form's field for the one that the API names. */
export const fieldOf = (path) => FIELDS.find(([pattern]) => pattern.test(path))?.[1] ?? "";
