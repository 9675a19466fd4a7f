// A task as the `khala run` that makes the same one, or null where that has no option for a part of it. Pure.

const MIB = 1024 * 1024;

export const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** A word that no line of `text` is. */
function ending(text) {
  let word = "END";
  while (text.split("\n").includes(word)) word += "_";
  return word;
}

/** `before` with `text` as its input; it ends with a line break, if need be one more. */
export function heredoc(before, text) {
  const word = ending(text);
  return `${before} <<'${word}'\n${text}${text.endsWith("\n") ? "" : "\n"}${word}`;
}

const written = (text, path) => (text.endsWith("\n") ? heredoc(`cat > ${quoted(path)}`, text) : `printf %s ${quoted(text)} > ${quoted(path)}`);

/** Thrown inside for what no option says. */
class Beyond extends Error {}

function unless(beyond) {
  if (beyond) throw new Beyond();
}

const nothingElse = (rest) => unless(Object.values(rest).some((value) => value !== undefined));

/** The lines to paste into a shell: files first, then `khala run` with an option for each part of `task`, which is
 * the body of POST /tasks without what is only the default. */
export function khalaOf(task) {
  try {
    const text = lines(task).join("\n");
    // Who pastes these into a terminal gives it orders.
    return /[\x00-\x08\x0b-\x1f\x7f]/.test(text) ? null : text;
  } catch (error) {
    if (error instanceof Beyond) return null;
    throw error;
  }
}

function lines({ name, user, labels, priority, inputs = [], outputs = [], compile, execute, resources = {}, constraints, expected_output: expected, checker, retry = {}, isolation, network, ...rest }) {
  nothingElse(rest);
  unless(!execute);
  const words = ["khala", "run"];
  const option = (name, value) => value !== undefined && value !== "" && words.push(name, quoted(String(value)));
  const pairs = (name, values) => Object.entries(values ?? {}).forEach(([key, value]) => {
    unless(key.includes("="));
    option(name, `${key}=${value}`);
  });
  option("--name", name);
  pairs("--label", labels);
  option("--user-id", user || undefined);
  option("--priority", priority || undefined);
  const before = inputs.flatMap((input) => fileOf(input, option));
  for (const { glob, required } of outputs) {
    unless(required);
    option("--output", glob);
  }
  pairs("--env", sameEnvironment(compile, execute));
  if (compile) {
    option("--compile", typeof compile.command === "string" ? compile.command : compile.command.map(quoted).join(" "));
    option("--compile-limit", wallTime(compile));
  }
  option("--limit", wallTime(execute));
  const { cpus, memory, ...others } = resources;
  nothingElse(others);
  option("--cpus", cpus);
  if (memory) option("--memory", memory % MIB ? memory : `${memory / MIB}M`);
  pairs("--constraint", constraints);
  option("--isolation", isolation);
  if (network) words.push("--network");
  option("--max-attempts", attempts(retry));
  unless(expected === undefined && checker);
  if (expected !== undefined) before.push(expectation(expected, inputs, option));
  option("--checker", checker);
  return [...before, command(words, execute)];
}

/** Writes an input's file; what is not text, or has a mode of its own, no option says. */
function fileOf({ path, content, encoding, mode, ...rest }, option) {
  nothingElse(rest);
  unless(content === undefined || encoding === "base64" || path.includes("=") || path.startsWith("-"));
  unless(![undefined, "644", "755"].includes(mode));
  const folder = path.slice(0, Math.max(0, path.lastIndexOf("/")));
  option("--input-file", folder ? `${path}=${path}` : path);
  return [
    ...(folder ? [`mkdir -p ${quoted(folder)}`] : []),
    written(content, path),
    ...(mode === "755" ? [`chmod +x ${quoted(path)}`] : []),
  ];
}

/** `--env` is of both commands. */
function sameEnvironment(compile, execute) {
  const told = ({ env = {} }) => JSON.stringify(Object.entries(env).sort());
  unless(compile && told(compile) !== told(execute));
  return execute.env;
}

function wallTime({ limits: { wall_time: seconds, ...rest } = {} }) {
  nothingElse(rest);
  return seconds;
}

function attempts({ max_attempts: most, on = ["executor_lost"], backoff }) {
  unless(on.join() !== "executor_lost" || backoff);
  return most;
}

function expectation(text, inputs, option) {
  let name = "expected";
  while (inputs.some(({ path }) => path.split("/")[0] === name)) name += "_";
  option("--expected-output", name);
  return written(text, name);
}

/** A text is run by a shell, a list as it is. */
function command(words, { command: asked, args = [], stdin, env, limits, ...rest }) {
  nothingElse(rest);
  const run = typeof asked === "string" ? ["bash", "-c", asked] : [...asked, ...args];
  const line = `${[...words, ...(stdin ? ["-i"] : []), "--", ...run.map(quoted)].join(" ")}`;
  if (!stdin) return line;
  return stdin.endsWith("\n") ? heredoc(line, stdin) : `printf %s ${quoted(stdin)} | ${line}`;
}
