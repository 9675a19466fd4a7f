// A task that was read, as one that can be asked for again. Pure.

/** Fields that mean something when they are empty or 0. */
export const MEANT = ["expected_output", "queue_timeout", "ttl_after_finished"];

/** The body of POST /tasks for the same as `task`, which was read whole; without what is only the default. */
export function specOf(task) {
  const spec = {
    name: task.name,
    user: task.user,
    labels: task.labels,
    priority: task.priority,
    inputs: task.inputs.map(input),
    archives: task.archives,
    compile: phase(task.compile),
    execute: phase(task.execute),
    resources: lean({ cpus: task.resources.cpus === 1 ? 0 : task.resources.cpus, memory: task.resources.memory }),
    constraints: task.constraints,
    expected_output: typeof task.expected_output === "string" ? task.expected_output : undefined,
    checker: task.checker === "trim" ? undefined : task.checker,
    checker_tolerance: task.checker_tolerance === 1e-6 ? undefined : task.checker_tolerance,
    outputs: task.output_globs.map(({ glob, required }) => (required ? { glob, required } : { glob })),
    retry: retry(task.retry),
    queue_timeout: task.queue_timeout,
    ttl_after_finished: task.ttl_after_finished,
    depends_on: task.depends_on,
    on_disconnect: task.on_disconnect === "continue" ? "" : task.on_disconnect,
    network: task.network,
    isolation: task.isolation === "basic" ? "" : task.isolation,
  };
  return lean(spec, MEANT);
}

/** A command as it is read; one that is a list with its words apart. */
export const shown = (command) => (typeof command === "string" ? command : command.map((word) => JSON.stringify(word)).join(" "));

const phase = (told) => told && lean({ ...told, limits: lean(told.limits, Object.keys(told.limits)) }, ["command"]);

const retry = (told) => (told.max_attempts === 5 && told.on.join() === "executor_lost" && !told.backoff ? {} : told);

const input = ({ mode, encoding, ...rest }) => ({
  ...rest,
  ...(mode === "644" ? {} : { mode }),
  ...(encoding === "base64" ? { encoding } : {}),
});

/** Without empty parts, but for those that mean something when empty. */
export function lean(object, kept = []) {
  const empty = (value) =>
    value === undefined || value === null || value === "" || value === 0 || value === false ||
    (typeof value === "object" && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(object).filter(([name, value]) => (kept.includes(name) && value !== undefined && value !== null) || !empty(value)));
}
