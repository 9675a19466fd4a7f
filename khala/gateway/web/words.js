// What Khala says in codes, in words: states, ends, verdicts, and what to do about a failure. Pure.
import { bytes, duration } from "./format.js";

/** Word, shape and tone of each state; the shape's name is that of an icon. */
export const STATES = {
  pending: { word: "Waiting", shape: "wait", tone: "wait" },
  assigned: { word: "Starting", shape: "start", tone: "live" },
  running: { word: "Running", shape: "run", tone: "live" },
  succeeded: { word: "Succeeded", shape: "check", tone: "good" },
  failed: { word: "Failed", shape: "cross", tone: "bad" },
  cancelled: { word: "Cancelled", shape: "slash", tone: "off" },
};
export const OVER = ["succeeded", "failed", "cancelled"];
export const isOver = (task) => OVER.includes(task.state);

export const REASONS = {
  exited: "Exit code other than 0",
  signaled: "Ended by a signal",
  wall_time_limit: "Time limit",
  cpu_time_limit: "CPU time limit",
  memory_limit: "Memory limit",
  output_limit: "Output limit",
  disk_limit: "Disk limit",
  file_size_limit: "File size limit",
  process_limit: "Process limit",
  setup_failed: "Could not be set up",
  executor_lost: "Executor lost",
  crash_limit: "Lost its executor too often",
  dependency_failed: "A dependency failed",
  queue_timeout: "Waited too long",
  cancelled: "Cancelled",
  internal_error: "A fault in Khala",
};

export const VERDICTS = {
  accepted: ["Output as expected", "good"],
  wrong_answer: ["Wrong output", "bad"],
  time_limit_exceeded: ["Time limit exceeded", "bad"],
  memory_limit_exceeded: ["Memory limit exceeded", "bad"],
  output_limit_exceeded: ["Output limit exceeded", "bad"],
  runtime_error: ["Runtime error", "bad"],
  compilation_error: ["Compilation error", "bad"],
};

export const STORY = {
  submitted: "Stored",
  assigned: "Given to an executor",
  started: "Started",
  phase_entered: "Next phase",
  ended: "Ended",
  lost: "Executor lost",
  retried: "Tried again",
  returned: "Given back by its executor",
  cancel_requested: "Cancel asked for",
  amended: "Labels or priority changed",
  cancelled: "Cancelled",
};

const SIGNALS = {
  4: ["SIGILL", "ran an instruction that this machine does not have"],
  6: ["SIGABRT", "gave up by itself, as after a failed assertion or an uncaught exception"],
  7: ["SIGBUS", "touched memory that is not there"],
  8: ["SIGFPE", "divided by zero, or a like mistake in arithmetic"],
  9: ["SIGKILL", "was killed from outside; often the machine had no memory left"],
  11: ["SIGSEGV", "touched memory that is not its own, as through a bad pointer or an endless recursion"],
  13: ["SIGPIPE", "wrote to something that was closed"],
  15: ["SIGTERM", "was asked to end"],
};
const EXIT_CODES = {
  126: ["a file that is not a program", "Is the file executable, and the first line of a script right?"],
  127: ["a command that was not found", "Is the program installed on the executors, and its name spelt right?"],
};

const ADVICE = {
  wall_time_limit: "If it only needs longer, clone it with a longer time limit. If it should have been quick: does it wait for input, or run in a circle?",
  cpu_time_limit: "Clone it with more CPU time, or look for a loop that never ends.",
  memory_limit: "Clone it with a higher memory limit, or have it hold less at a time.",
  output_limit: "Clone it with a higher output limit, or write large results to files and collect those.",
  disk_limit: "Clone it with a higher disk limit, or have it remove what it no longer needs.",
  file_size_limit: "Clone it with a higher file size limit, or write several smaller files.",
  process_limit: "Clone it with a higher process limit, or start fewer processes at a time.",
  setup_failed: "The executor could not prepare the directory, the files or the limits: the reason above says what. Running it again may find another executor.",
  executor_lost: "Nothing is wrong with the task. Run it again.",
  crash_limit: "Each executor that ran it was lost. It may be the task that brings them down: look at its memory and processes before you run it again.",
  internal_error: "This is a fault in Khala, not in your task. Run it again; if it comes back, report it with the task's id.",
  dependency_failed: "A task that this one depends on did not end as it should have. Look at that one first.",
  queue_timeout: "No executor was free for it in time. Add executors, or let it wait longer.",
};

/** The phase that decided how a task ended: `[name, result]`. */
export function lastPhase(task) {
  const result = task.result ?? {};
  return result.execute ? ["execute", result.execute] : ["compile", result.compile ?? null];
}

/** All of an output stream as the result has it; null when it has only a part. */
export const whole = (stream) => (stream.tail || stream.head_base64 ? null : stream.head);

/** Where to look first after a bad end, by what there is. */
function firstPlace({ result }) {
  const { stdout, stderr } = result?.execute ?? {};
  if (stderr?.size) return "Its error output, below, is the first place to look.";
  if (stdout?.size) return "It printed no errors; its output, below, may say more.";
  return "It printed nothing at all. Run it again with more output, or on your machine.";
}

/** What happened and what to do, for a finished task: `{ tone, what, advice }`, or null when all is well. */
export function outcome(task) {
  const [phase, ended] = lastPhase(task);
  const subject = phase === "compile" ? "The compilation" : "The program";
  if (task.state === "succeeded") {
    if (task.verdict !== "wrong_answer") return null;
    const at = task.difference ? ` It first differs in line ${task.difference.line}, column ${task.difference.column}.` : "";
    return { tone: "bad", what: `The program ran to its end, but its output is not the expected one.${at}`, advice: "Compare both below. If only blanks or the last digits differ, clone it with another checker." };
  }
  if (task.state === "cancelled") return { tone: "off", what: "It was cancelled.", advice: "Run it again whenever you like: nothing of it is lost." };
  if (task.state !== "failed") return null;
  const limits = task[phase]?.limits ?? {};
  if (task.exit_reason === "exited" || task.exit_reason === "signaled") return { tone: "bad", ...ownEnd(subject, phase, ended, task) };
  return { tone: "bad", what: beyond(subject, task, ended, limits), advice: ADVICE[task.exit_reason] ?? "" };
}

function ownEnd(subject, phase, ended, task) {
  if (ended?.signal) {
    const [name, meaning] = SIGNALS[ended.signal] ?? [`signal ${ended.signal}`, "was ended by it"];
    return { what: `${subject} ${meaning} (${name}).`, advice: "Its error output may say more. Running it under a debugger or a sanitizer on your machine shows the place." };
  }
  const code = ended?.exit_code;
  if (code === undefined || code === null) return { what: task.reason || "It failed.", advice: "" };
  if (EXIT_CODES[code]) {
    const [what, advice] = EXIT_CODES[code];
    return { what: `The shell was given ${what} (exit code ${code}).`, advice };
  }
  if (phase === "compile") return { what: `The compilation failed with exit code ${code}, so nothing was executed.`, advice: "Its error output names the line. Clone the task, correct the source, and run that." };
  return { what: `The program ended with exit code ${code}; only 0 counts as success.`, advice: firstPlace(task) };
}

function beyond(subject, task, ended, limits) {
  const used = ended ?? {};
  switch (task.exit_reason) {
    case "wall_time_limit":
      return `${subject} was still running after ${limits.wall_time ? `its limit of ${duration(limits.wall_time)}` : "the time allowed"} and was stopped.`;
    case "cpu_time_limit":
      return `${subject} used up ${limits.cpu_time ? `its ${duration(limits.cpu_time)} of` : "the allowed"} CPU time and was stopped.`;
    case "memory_limit":
      return `${subject} wanted more memory than ${limits.memory ? `its limit of ${bytes(limits.memory)}` : "is allowed"}${used.max_memory ? ` (it held ${bytes(used.max_memory)})` : ""}.`;
    case "output_limit":
      return `${subject} printed more than ${limits.output_size ? `its limit of ${bytes(limits.output_size)}` : "is allowed"} and was stopped.`;
    default:
      return task.reason || REASONS[task.exit_reason] || "It failed.";
  }
}

/** What came of a task, in a few words for a list. */
export function summary(task) {
  if (task.state === "failed") return REASONS[task.exit_reason] ?? task.reason;
  if (task.state === "succeeded" && task.verdict && task.verdict !== "not_judged") return VERDICTS[task.verdict]?.[0] ?? task.verdict;
  if (task.cancel_requested && !isOver(task)) return "Being cancelled";
  return "";
}
