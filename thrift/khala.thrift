/**
 * The one wire contract of Khala: what nodes say to each other (service Bus) and what a program in
 * any language may ask of a judicator (service Judicator). Both are spoken on the same port, framed,
 * in the binary protocol, after a hello.
 *
 * Field names and types equal the dataclasses of khala/core (a test compares them), which carry the
 * documentation. Enumerations travel as strings; absent optional fields mean "none".
 * Fields are only ever added, with a new number; neighbours one version apart must understand each
 * other (P16). After a change: `make gen`.
 */

namespace py khala.bus.gen

const i32 PROTOCOL_VERSION = 1

// ---- the domain (khala/core/task.py) ----

/** Bounds of one phase. None or 0 means unlimited. */
struct Limits {
  1: optional double wall_time_s;
  2: optional double cpu_time_s;
  3: optional i64 memory_bytes;
  4: optional i64 processes;
  5: optional i64 open_files;
  6: optional i64 file_size_bytes;
  7: optional i64 output_bytes;
  8: optional i64 disk_bytes;
}

/** One phase's command: either `shell`, run by `bash -c`, or `argv`, run as it is. */
struct Command {
  1: string shell;
  2: list<string> argv;
  3: map<string, string> env;
  4: binary stdin;
  5: string stdin_file;
  6: Limits limits;
}

/** A file put into the workspace: inline `content`, or a stored file's sha256 as `file_id`. */
struct InputFile {
  1: string path;
  2: binary content;
  3: string file_id;
  4: i64 mode;
}

/** A stored archive (zip, tar, tar.gz) that is extracted under `path` of the workspace ("" is its top). */
struct Archive {
  1: string file_id;
  2: string path;
}

/** Which files of the workspace to keep after the run; one at least if `needed`. */
struct OutputGlob {
  1: string glob;
  2: bool needed;
}

/** A file that was kept: where it lay in the workspace, and its content as a stored file's sha256. */
struct OutputFile {
  1: string path;
  2: i64 size;
  3: string sha256;
  4: i64 mode;
}

/** The first place where an output is not what was expected (khala/core/checking.py). */
struct Difference {
  1: i64 line;
  2: i64 column;
  3: string expected;
  4: string actual;
}

/** What a task occupies while it runs. */
struct Resources {
  1: double cpus;
  2: i64 memory_bytes;
}

/** Another task, and how it must have ended before this one may start (khala/core/dependencies.py). */
struct Dependency {
  1: string task_id;
  2: string condition;
}

/** What the owner asked for; never changes after the task was accepted. */
struct TaskSpec {
  1: string name;
  2: i64 user;
  3: map<string, string> labels;
  4: i64 priority;
  5: list<InputFile> inputs;
  6: list<Archive> archives;
  7: optional Command compile;
  8: optional Command execute;
  9: Resources resources;
  10: map<string, string> constraints;
  11: optional binary expected_output;
  12: i64 max_attempts;
  13: string on_disconnect;
  14: string isolation;
  15: bool network;
  16: list<OutputGlob> outputs;
  17: string checker;
  18: double checker_tolerance;
  19: list<string> retry_on;
  20: double backoff_s;
  21: optional double queue_timeout_s;
  22: optional double ttl_after_finished_s;
  23: list<Dependency> depends_on;
}

/** What is kept of one output stream: its head and its tail, and its true size in bytes. */
struct StreamCapture {
  1: i64 size;
  2: binary head;
  3: binary tail;
  4: bool truncated;
  5: i64 stored_bytes;
  6: string sha256;
}

/** How one phase went. `exit_code` is None when a signal ended it, and the other way round. */
struct PhaseResult {
  1: string exit_reason;
  2: optional i64 exit_code;
  3: optional i64 signal;
  4: double started_at;
  5: double wall_time_s;
  6: double cpu_user_s;
  7: double cpu_system_s;
  8: i64 max_rss_bytes;
  9: StreamCapture stdout;
  10: StreamCapture stderr;
  11: i64 max_memory_bytes;
  12: i64 max_processes;
  13: i64 disk_bytes;
}

/** What came of an attempt, phase by phase; a phase that did not run is None. */
struct Result {
  1: optional PhaseResult compile;
  2: optional PhaseResult execute;
  3: list<string> enforced;
  4: list<OutputFile> outputs;
  5: string verdict;
  6: optional Difference difference;
}

/** The end of one attempt, as its executor saw it. */
struct Outcome {
  1: string exit_reason;
  2: bool succeeded;
  3: string reason;
  4: optional string phase;
  5: optional Result result;
  6: double finished_at;
}

/** The number of a leadership. A new generation outranks every epoch of an older one (P4). */
struct Epoch {
  1: i64 generation;
  2: i64 number;
}

/** The part of a task that changes. `rev` counts the changes, without a gap. */
struct TaskControl {
  1: i64 rev;
  2: string state;
  3: i64 attempt;
  4: i64 starts;
  5: i64 losses;
  6: string executor;
  7: string incarnation;
  8: optional string phase;
  9: bool cancel_requested;
  10: optional string exit_reason;
  11: string reason;
  12: double queued_at;
  13: optional double started_at;
  14: optional double finished_at;
  15: double not_before;
}

/** The part of a specification that placement needs; small, for the leader keeps it in memory. */
struct Demand {
  1: i64 priority;
  2: double created_at;
  3: double cpus;
  4: i64 memory_bytes;
  5: map<string, string> constraints;
  6: i64 max_attempts;
  7: string on_disconnect;
  8: string isolation;
  9: string owner;
  10: string job_id;
  11: i64 max_parallel;
  12: list<string> retry_on;
  13: double backoff_s;
  14: optional double queue_timeout_s;
  15: list<Dependency> depends_on;
  16: optional double ttl_after_finished_s;
}

/** One line of a task's story, written in the same write as the change itself. */
struct TaskEvent {
  1: i64 rev;
  2: string kind;
  3: double at;
  4: string from_state;
  5: string to_state;
  6: i64 attempt;
  7: Epoch epoch;
  8: string executor;
  9: string detail;
}

/** A whole task as the store keeps it. */
struct Task {
  1: string id;
  2: TaskSpec spec;
  3: string owner;
  4: double created_at;
  5: string request_digest;
  6: string retried_from;
  7: TaskControl control;
  8: optional Result result;
  9: list<TaskEvent> events;
  10: string job_id;
  11: i64 job_index;
  12: i64 max_parallel;
}

// ---- between nodes (khala/core/messages.py) ----

/** A leader asks for a report; answering it refuses every older epoch for good (P9). */
struct LeaderAnnounced {
  1: Epoch epoch;
  2: string leader;
}

/** Run this attempt. `sequence` increases within an epoch and incarnation (P8). */
struct AssignTask {
  1: Epoch epoch;
  2: string incarnation;
  3: i64 sequence;
  4: string task_id;
  5: i64 attempt;
  6: TaskSpec spec;
  7: bool gated;
}

/** The start of a gated attempt is saved; it may execute now. */
struct StartCleared {
  1: Epoch epoch;
  2: string incarnation;
  3: string task_id;
  4: i64 attempt;
}

/** Hand this attempt back if it has not started; if unknown, never start it (P8). */
struct RecallAttempt {
  1: Epoch epoch;
  2: string incarnation;
  3: string task_id;
  4: i64 attempt;
}

/** End this attempt, its whole process tree: it was cancelled, or is superseded. */
struct AbortAttempt {
  1: Epoch epoch;
  2: string incarnation;
  3: string task_id;
  4: i64 attempt;
  5: bool superseded;
}

/** The outcome is on a majority's disk (or lost the race): the executor may forget it. */
struct OutcomeSettled {
  1: string task_id;
  2: i64 attempt;
  3: bool superseded;
  4: Epoch epoch;
}

/** One attempt in a report. `status` is held, started, finished (unacknowledged) or crashed. */
struct AttemptView {
  1: string task_id;
  2: i64 attempt;
  3: string status;
  4: string incarnation;
}

/** What an executor is and holds. An older `number` than one already seen is ignored. */
struct ExecutorReport {
  1: string executor;
  2: string incarnation;
  3: i64 number;
  4: Epoch epoch;
  5: Epoch highest_epoch;
  6: i64 highest_sequence;
  7: i64 slots;
  8: double cpus;
  9: i64 memory_bytes;
  10: map<string, string> labels;
  11: string hostname;
  12: bool draining;
  13: double load;
  14: list<AttemptView> attempts;
  15: list<string> isolation;
  16: map<string, string> layers;
}

/** A gated attempt is ready and asks to execute. Here and below, `epoch` is the assignment's. */
struct StartRequested {
  1: string executor;
  2: string incarnation;
  3: string task_id;
  4: i64 attempt;
  5: Epoch epoch;
}

/** An attempt executes now; `at` is the executor's clock in Unix seconds. */
struct AttemptStarted {
  1: string executor;
  2: string incarnation;
  3: string task_id;
  4: i64 attempt;
  5: double at;
  6: string phase;
  7: Epoch epoch;
}

/** An attempt ended; resent until OutcomeSettled. `incarnation` is the one it was assigned to. */
struct AttemptFinished {
  1: string executor;
  2: string incarnation;
  3: string task_id;
  4: i64 attempt;
  5: double started_at;
  6: Outcome outcome;
  7: Epoch epoch;
}

/** An attempt was handed back, or refused, before it started; it will never start. An `unknown` one, if the
 * store says that it began, did so under an older generation. */
struct AttemptReturned {
  1: string executor;
  2: string incarnation;
  3: string task_id;
  4: i64 attempt;
  5: string reason;
  6: Epoch epoch;
  7: bool unknown;
}

/** What the leader keeps of a task: its control part and its demand. */
struct QueuedTask {
  1: string task_id;
  2: TaskControl control;
  3: Demand demand;
  4: optional TaskSpec spec;
}

/** A hint that these tasks were stored; it only saves latency (P3). */
struct TasksQueued {
  1: list<QueuedTask> tasks;
}

/** A hint that cancel requests were stored for these tasks (P3). */
struct CancelsRequested {
  1: list<QueuedTask> tasks;
}

/** These tasks reached a terminal state; whoever waits for them may read them. */
struct TasksSettled {
  1: list<string> task_ids;
}

// ---- commands and replies (khala/core/commands.py, transfers.py) ----

/** Who asks: the bearer token as given, or empty on a cluster that was started open. */
struct Caller {
  1: string token;
}

/** Are you there? */
struct Ping {
  1: Caller caller;
}

/** A judicator's answer to Ping. `ready` means that it can accept tasks now. */
struct Pong {
  1: string judicator;
  2: string version;
  3: bool ready;
  4: string leader;
  5: Epoch epoch;
  6: bool secured;
}

/** One task to create. A repeated `id` with the same digest is the same task (idempotency). */
struct NewTask {
  1: string id;
  2: TaskSpec spec;
  3: string request_digest;
  4: string retried_from;
}

/** Store these tasks on a majority's disk, then acknowledge. */
struct SubmitTasks {
  1: list<NewTask> tasks;
  2: Caller caller;
}

/** One task's answer: `error_code` is empty when it is stored (new, or by the same request before). */
struct TaskAccepted {
  1: string task_id;
  2: bool created;
  3: string error_code;
  4: string error_detail;
  5: string error_field;
}

/** The answers to SubmitTasks, in its order. */
struct TasksAccepted {
  1: list<TaskAccepted> results;
}

/** Ask that these tasks end as cancelled. */
struct CancelTasks {
  1: list<string> task_ids;
  2: Caller caller;
  3: optional string owner;
}

/** One task's answer: requested, finished (too late; `state` says how) or not_found. */
struct TaskCancel {
  1: string task_id;
  2: string answer;
  3: optional string state;
}

/** The answers to CancelTasks, in its order. */
struct TaskCancels {
  1: list<TaskCancel> results;
}

/** Read tasks; with `wait_s`, answer when all of them are finished or the time is up. */
struct GetTasks {
  1: list<string> task_ids;
  2: string view;
  3: double wait_s;
  4: Caller caller;
  5: optional string owner;
}

/** The tasks that exist, in no promised order; those that do not are left out. */
struct TaskViews {
  1: list<Task> tasks;
}

/** List tasks by creation time. `offset` skips; `limit` 0 means all (KV2), else at most 1,000. */
struct SearchTasks {
  1: optional i64 user;
  2: list<string> states;
  3: string name_prefix;
  4: string executor;
  5: string exit_reason;
  6: string label;
  7: optional double created_after;
  8: optional double created_before;
  9: bool oldest_first;
  10: i64 offset;
  11: i64 limit;
  12: string page_token;
  13: bool count_total;
  14: string view;
  15: Caller caller;
  16: optional string owner;
  17: string job_id;
}

/** One page of SearchTasks. `total` is −1 unless it was asked for. */
struct TaskPage {
  1: list<Task> tasks;
  2: string next_page_token;
  3: i64 total;
  4: bool at_least;
}

/** Which executors does the leader know? */
struct ListExecutors {
  1: Caller caller;
  2: string place_of;
}

/** One executor as the leader sees it. `reported_at` is Unix seconds of the last report. */
struct ExecutorView {
  1: string executor;
  2: string incarnation;
  3: string hostname;
  4: double reported_at;
  5: i64 slots;
  6: double cpus;
  7: i64 memory_bytes;
  8: map<string, string> labels;
  9: double load;
  10: bool draining;
  11: i64 assigned;
  12: list<string> running;
  13: list<string> isolation;
  14: map<string, string> layers;
}

/** Where a task stands among those of its owner that wait; `before` is absent if it is not in the queue. */
struct QueuePlace {
  1: string task_id;
  2: optional i64 before;
  3: bool exact;
  4: i64 waiting;
}

/** The answer to ListExecutors. */
struct ExecutorViews {
  1: list<ExecutorView> executors;
  2: optional QueuePlace place;
}

/** Which judicators are registered, and who leads? */
struct ListJudicators {
  1: Caller caller;
}

/** One registered judicator; `address` is host:port of its bus and RPC. */
struct JudicatorView {
  1: string name;
  2: string address;
  3: bool leader;
  4: map<string, i64> restarts;
  5: string replica_state;
  6: bool live;
  7: bool leaving;
  8: bool voting;
  9: optional double replica_lag_s;
}

/** The answer to ListJudicators. */
struct JudicatorViews {
  1: list<JudicatorView> judicators;
  2: Epoch epoch;
}

/** Take a judicator out of the cluster, live or not, if the others are a majority without it. */
struct RemoveJudicator {
  1: string name;
  2: Caller caller;
}

/** The removal of this judicator has begun; the leader carries it out. */
struct JudicatorRemoval {
  1: string name;
}

/** How many tasks are in each state? */
struct CountTasks {
  1: Caller caller;
  2: optional string owner;
}

/** Tasks per state; states with none are left out. */
struct TaskCounts {
  1: map<string, i64> counts;
  2: double counted_at;
  3: bool at_least;
}

/** A part of a file, at most 1 MiB, sent in order; the last one completes and verifies it. */
struct PutFileChunk {
  1: string upload_id;
  2: string sha256;
  3: i64 size;
  4: i64 offset;
  5: binary data;
  6: Caller caller;
}

/** The answer to PutFileChunk. `complete` once the whole file is on a majority's disk. */
struct FileStored {
  1: string sha256;
  2: bool complete;
}

/** Read at most `length` bytes (1 MiB) of a stored file from `offset`. */
struct GetFileChunk {
  1: string sha256;
  2: i64 offset;
  3: i64 length;
  4: Caller caller;
}

/** A part of a stored file and the file's whole size. */
struct FileChunk {
  1: string sha256;
  2: i64 size;
  3: i64 offset;
  4: binary data;
}

/** Bytes of an attempt's output stream, at most 512 KiB, from `offset` on; only executors may. `epoch` is the
 * assignment's: output of another generation is refused (P4). */
struct PutOutput {
  1: string task_id;
  2: i64 attempt;
  3: string phase;
  4: string stream;
  5: i64 offset;
  6: binary data;
  7: Caller caller;
  8: Epoch epoch;
}

/** The answer to PutOutput: all bytes before `next_offset` are on a majority's disk. */
struct OutputStored {
  1: i64 next_offset;
}

/** Read at most `length` bytes (512 KiB) of an output stream; `attempt` 0 is the newest. */
struct GetOutput {
  1: string task_id;
  2: i64 attempt;
  3: string phase;
  4: string stream;
  5: i64 offset;
  6: i64 length;
  7: double wait_s;
  8: Caller caller;
  9: optional string owner;
}

/** A part of an attempt's output stream; `complete` says that there will be no more than `size`. */
struct OutputPart {
  1: i64 attempt;
  2: i64 offset;
  3: binary data;
  4: i64 size;
  5: bool complete;
  6: i64 written;
  7: string state;
  8: i64 newest;
}

// ---- people (khala/core/people.py) ----

/** What a user may have at a time: waiting tasks, running tasks, bytes of uploaded files. None: any. */
struct Quota {
  1: optional i64 queued;
  2: optional i64 running;
  3: optional i64 stored_bytes;
}

/** What a user has now, in the terms of a Quota. */
struct Usage {
  1: i64 queued;
  2: i64 running;
  3: i64 stored_bytes;
}

/** A user; `role` is admin, user or viewer. */
struct UserView {
  1: string name;
  2: string role;
  3: double created_at;
  4: Quota quota;
  5: optional Usage usage;
}

/** A token, known by `id`; nothing here opens a door. */
struct TokenView {
  1: string id;
  2: string name;
  3: string user;
  4: double created_at;
  5: optional double expires_at;
  6: optional double last_used_at;
  7: bool session;
  8: string parent;
}

/** Who am I? */
struct GetMe {
  1: Caller caller;
}

/** The caller, with quota and usage, and the token that was shown. */
struct Me {
  1: UserView user;
  2: optional TokenView token;
}

/** Make a user, or change one: an empty `role` and no `quota` leave them as they are. */
struct PutUser {
  1: string name;
  2: string role;
  3: optional Quota quota;
  4: bool create_only;
  5: Caller caller;
}

/** All users, or only the one of this name, with their usage. */
struct ListUsers {
  1: string name;
  2: Caller caller;
}

/** Take a user and all their tokens away; their tasks stay. */
struct DeleteUser {
  1: string name;
  2: Caller caller;
}

/** The answer to PutUser, ListUsers and DeleteUser. */
struct UserViews {
  1: list<UserView> users;
}

/** Let the token of this digest stand for `user` (empty: the caller) until `expires_at`. */
struct CreateToken {
  1: string digest;
  2: string name;
  3: string user;
  4: optional double expires_at;
  5: bool session;
  6: Caller caller;
}

/** The tokens of `owner`, or of everybody (none). */
struct ListTokens {
  1: optional string owner;
  2: Caller caller;
}

/** Take a token away, and the sessions that were begun with it. An empty `id` is the caller's own. */
struct RevokeToken {
  1: string id;
  2: optional string owner;
  3: Caller caller;
}

/** The answer to CreateToken, ListTokens and RevokeToken; the newest first. */
struct TokenViews {
  1: list<TokenView> tokens;
}

/** `user`, by the token of this id, asked for `action` (such as tasks.cancel) upon `target`. */
struct AuditEntry {
  1: double at;
  2: string user;
  3: string token;
  4: string action;
  5: string target;
  6: string detail;
}

/** The record, newest first, of one user or of all (empty); at most 1,000 entries a page. */
struct ListAudit {
  1: string user;
  2: i64 limit;
  3: string page_token;
  4: Caller caller;
}

/** The answer to ListAudit. */
struct AuditPage {
  1: list<AuditEntry> entries;
  2: string next_page_token;
}

// ---- operating (khala/core/operations.py) ----

/** Change the labels or the priority of a task that is not finished; absent ones stay as they are. */
struct AmendTask {
  1: string task_id;
  2: optional map<string, string> labels;
  3: optional i64 priority;
  4: optional string owner;
  5: Caller caller;
}

/** Remove a finished task; a tombstone keeps its id from being used again (P7). */
struct PurgeTask {
  1: string task_id;
  2: optional string owner;
  3: Caller caller;
}

/** Let an executor take nothing more, or take tasks again. */
struct DrainExecutor {
  1: string executor;
  2: bool draining;
  3: Caller caller;
}

/** What does the leader, and the judicator that answers, count? */
struct GetMetrics {
  1: Caller caller;
}

/** One number, named and labelled as Prometheus has it. */
struct Sample {
  1: string name;
  2: map<string, string> labels;
  3: double value;
}

/** The answer to GetMetrics. */
struct Metrics {
  1: list<Sample> samples;
}

/** The order to an executor, and the answer to DrainExecutor: it was sent. */
struct DrainOrdered {
  1: string executor;
  2: bool draining;
}

/** The caller is wrong; nothing was changed. */
exception Refused {
  1: string code;
  2: string detail;
  3: string field;
}

/** Not now: the same call may succeed after `retry_after_s` seconds. */
exception NotAvailable {
  1: string detail;
  2: double retry_after_s;
  3: bool outcome_unknown;
}

// ---- jobs (khala/core/jobs.py) ----

/** A job to create. A repeated `id` with the same digest is the same job (idempotency). */
struct NewJob {
  1: string id;
  2: TaskSpec template;
  3: string rows_file;
  4: i64 total;
  5: string name;
  6: list<string> names;
  7: i64 max_parallel;
  8: optional i64 max_failures;
  9: string request_digest;
}

/** A job as the store keeps it. The first `created` of its `total` tasks exist. */
struct Job {
  1: string id;
  2: optional TaskSpec template;
  3: string rows_file;
  4: i64 total;
  5: string name;
  6: list<string> names;
  7: i64 max_parallel;
  8: optional i64 max_failures;
  9: string request_digest;
  10: string owner;
  11: double created_at;
  12: string retried_from;
  13: i64 created;
  14: bool cancel_requested;
  15: string reason;
  16: optional double finished_at;
  17: map<string, i64> counts;
}

/** Store this job on a majority's disk, then acknowledge; its tasks are made from then on. */
struct CreateJob {
  1: NewJob job;
  2: Caller caller;
}

/** The answer to CreateJob and RetryJob; `created` is false when it was there before. */
struct JobAccepted {
  1: Job job;
  2: bool created;
}

/** Read jobs with their counts; with `owner`, those of others do not exist. */
struct GetJobs {
  1: list<string> job_ids;
  2: Caller caller;
  3: optional string owner;
}

/** The jobs that exist, in the order asked. */
struct JobViews {
  1: list<Job> jobs;
}

/** List jobs, the newest first, at most 1,000. */
struct SearchJobs {
  1: i64 limit;
  2: string page_token;
  3: Caller caller;
  4: optional string owner;
}

/** One page of SearchJobs. */
struct JobPage {
  1: list<Job> jobs;
  2: string next_page_token;
}

/** Ask that all tasks of a job end, those that are still to be made too; answered by JobViews. */
struct CancelJob {
  1: string job_id;
  2: Caller caller;
  3: optional string owner;
}

/** A new job of those tasks of a finished one that ended in one of `states`; see CreateJob for `id`. */
struct RetryJob {
  1: string job_id;
  2: string id;
  3: list<string> states;
  4: string request_digest;
  5: Caller caller;
  6: optional string owner;
}

// ---- the bus (khala/bus) ----

/** One typed message; exactly one member is set. */
union Payload {
  1: LeaderAnnounced leader_announced;
  2: AssignTask assign_task;
  3: StartCleared start_cleared;
  4: RecallAttempt recall_attempt;
  5: AbortAttempt abort_attempt;
  6: OutcomeSettled outcome_settled;
  7: ExecutorReport executor_report;
  8: StartRequested start_requested;
  9: AttemptStarted attempt_started;
  10: AttemptFinished attempt_finished;
  11: AttemptReturned attempt_returned;
  12: TasksQueued tasks_queued;
  13: CancelsRequested cancels_requested;
  14: TasksSettled tasks_settled;
  15: Ping ping;
  16: Pong pong;
  17: SubmitTasks submit_tasks;
  18: TasksAccepted tasks_accepted;
  19: CancelTasks cancel_tasks;
  20: TaskCancels task_cancels;
  21: GetTasks get_tasks;
  22: TaskViews task_views;
  23: SearchTasks search_tasks;
  24: TaskPage task_page;
  25: ListExecutors list_executors;
  26: ExecutorViews executor_views;
  27: ListJudicators list_judicators;
  28: JudicatorViews judicator_views;
  29: CountTasks count_tasks;
  30: TaskCounts task_counts;
  31: PutFileChunk put_file_chunk;
  32: FileStored file_stored;
  33: GetFileChunk get_file_chunk;
  34: FileChunk file_chunk;
  35: Refused refused;
  36: NotAvailable not_available;
  37: PutOutput put_output;
  38: OutputStored output_stored;
  39: GetOutput get_output;
  40: OutputPart output_part;
  41: RemoveJudicator remove_judicator;
  42: JudicatorRemoval judicator_removal;
  70: GetMe get_me;
  71: Me me;
  72: PutUser put_user;
  73: ListUsers list_users;
  74: DeleteUser delete_user;
  75: UserViews user_views;
  76: CreateToken create_token;
  77: ListTokens list_tokens;
  78: RevokeToken revoke_token;
  79: TokenViews token_views;
  80: ListAudit list_audit;
  81: AuditPage audit_page;
  82: AmendTask amend_task;
  83: PurgeTask purge_task;
  84: DrainExecutor drain_executor;
  85: DrainOrdered drain_ordered;
  86: GetMetrics get_metrics;
  87: Metrics metrics;
  88: CreateJob create_job;
  89: JobAccepted job_accepted;
  90: GetJobs get_jobs;
  91: JobViews job_views;
  92: SearchJobs search_jobs;
  93: JobPage job_page;
  94: CancelJob cancel_job;
  95: RetryJob retry_job;
}

/** A message on its way. Addresses are `node/actor`, or `leader/scheduler` for whoever leads. */
struct Envelope {
  1: string id;
  2: string sender;
  3: string destination;
  /** The id of the envelope that this one answers, or empty. */
  4: string cause;
  /** Unix seconds after which nobody wants it any more; 0 means never. */
  5: double deadline;
  6: Payload payload;
}

/** The first thing that a server says of itself; `nonce` is fresh for each connection. */
struct Challenge {
  1: i32 protocol_version;
  2: string cluster_id;
  3: binary nonce;
  4: bool secured;
}

/** Who dials, and proof that it knows the cluster secret (HMAC-SHA-256 over both nonces). */
struct Hello {
  1: i32 protocol_version;
  2: string cluster_id;
  3: string node;
  4: string role;
  5: string incarnation;
  6: binary nonce;
  7: binary proof;
}

/** Who answers, and its own proof. */
struct Welcome {
  1: string node;
  2: string role;
  3: binary proof;
  4: string incarnation;
}

/** Envelopes, both ways over the connection that the dialling node opened (P14). */
service Bus {
  Challenge challenge();
  Welcome hello(1: Hello hello) throws (1: Refused refused);
  oneway void deliver(1: list<Envelope> envelopes);
  oneway void keep_alive();
}

/** The public RPC. */
service Judicator extends Bus {
  Pong ping(1: Ping command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TasksAccepted submit(1: SubmitTasks command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TaskCancels cancel(1: CancelTasks command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TaskViews get(1: GetTasks command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TaskPage search(1: SearchTasks command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TaskCounts count(1: CountTasks command) throws (1: Refused refused, 2: NotAvailable unavailable);
  ExecutorViews executors(1: ListExecutors command) throws (1: Refused refused, 2: NotAvailable unavailable);
  JudicatorViews judicators(1: ListJudicators command) throws (1: Refused refused, 2: NotAvailable unavailable);
  JudicatorRemoval remove_judicator(1: RemoveJudicator command) throws (1: Refused refused, 2: NotAvailable unavailable);
  FileStored put_file(1: PutFileChunk command) throws (1: Refused refused, 2: NotAvailable unavailable);
  FileChunk get_file(1: GetFileChunk command) throws (1: Refused refused, 2: NotAvailable unavailable);
  OutputStored put_output(1: PutOutput command) throws (1: Refused refused, 2: NotAvailable unavailable);
  OutputPart get_output(1: GetOutput command) throws (1: Refused refused, 2: NotAvailable unavailable);
  Me me(1: GetMe command) throws (1: Refused refused, 2: NotAvailable unavailable);
  UserViews put_user(1: PutUser command) throws (1: Refused refused, 2: NotAvailable unavailable);
  UserViews users(1: ListUsers command) throws (1: Refused refused, 2: NotAvailable unavailable);
  UserViews delete_user(1: DeleteUser command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TokenViews create_token(1: CreateToken command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TokenViews tokens(1: ListTokens command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TokenViews revoke_token(1: RevokeToken command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TaskViews amend(1: AmendTask command) throws (1: Refused refused, 2: NotAvailable unavailable);
  TaskViews purge(1: PurgeTask command) throws (1: Refused refused, 2: NotAvailable unavailable);
  Metrics metrics(1: GetMetrics command) throws (1: Refused refused, 2: NotAvailable unavailable);
  DrainOrdered drain(1: DrainExecutor command) throws (1: Refused refused, 2: NotAvailable unavailable);
  AuditPage audit(1: ListAudit command) throws (1: Refused refused, 2: NotAvailable unavailable);
  JobAccepted create_job(1: CreateJob command) throws (1: Refused refused, 2: NotAvailable unavailable);
  JobViews jobs(1: GetJobs command) throws (1: Refused refused, 2: NotAvailable unavailable);
  JobPage search_jobs(1: SearchJobs command) throws (1: Refused refused, 2: NotAvailable unavailable);
  JobViews cancel_job(1: CancelJob command) throws (1: Refused refused, 2: NotAvailable unavailable);
  JobAccepted retry_job(1: RetryJob command) throws (1: Refused refused, 2: NotAvailable unavailable);
}
