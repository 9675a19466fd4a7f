"""Jobs, on every judicator: accepts them, and on the leader makes their tasks and sees them to their end.

A job is acknowledged when its document and its values are on a majority's disk; its tasks are made by the
thousand from then on, the first thousand before the answer, the others by whoever leads. A half-made job
is so completed after any crash: its document says how far it is, and tasks made twice are the same tasks.
Nothing here needs the epoch's guard, for whatever a judicator that does not lead any more still does, is
what the new leader does as well. Its thread blocks in the store.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from khala.actors.actor import NodeActor, Stage
from khala.actors.answering import reply_of
from khala.actors.leader_messages import LeadingWith
from khala.actors.messages import AskJobs, Began, CallsAnswered, Flush, Tick
from khala.actors.new_tasks import bytes_of
from khala.actors.quotas import check_queued
from khala.actors.submissions import SCHEDULER, TOLD_HERE_BYTES, queued_of
from khala.bus.envelope import Envelope
from khala.core.access import Identity, reach_of
from khala.core.dependencies import broken
from khala.core.files import file_ids_of
from khala.core.jobs import CancelJob, CreateJob, Job, JobAccepted, JobViews, RetryJob
from khala.core.messages import CancelsRequested, TasksQueued
from khala.core.sweeps import (
    MAX_ROWS_BYTES,
    Rows,
    check_new_job,
    check_rows,
    decode_rows,
    encode_rows,
    make_task,
    place_of,
)
from khala.core.task import TERMINAL, Epoch, State
from khala.errors import Fault, Refusal, Unavailable
from khala.store.interface import Store

JOB_BYTES = 64 << 10
"""About what a command about a job takes while it waits."""
TASKS_AT_A_TIME = 1_000
JOBS_AT_A_TIME = 50
PLACES_AT_A_TIME = 10_000
CHUNK_BYTES = 1 << 20
ROWS_REMEMBERED = 2
UNFINISHED = tuple(state for state in State if state not in TERMINAL)


class Jobs(NodeActor):
    """Answers the clients' envelopes itself. `_round` are the open jobs that it looks at now."""

    def __init__(self, stage: Stage, *, store: Store) -> None:
        super().__init__(stage, "jobs")
        self._store = store
        self._leads = False
        self._round: deque[Job] = deque()
        self._after = (0.0, "")
        self._rows: OrderedDict[str, Rows] = OrderedDict()

    def begin(self) -> None:
        """What was sent to an earlier one is no longer on its way."""
        self.tell("judicator", Began(self.name))

    # --- for clients -----------------------------------------------------------------------------

    def handle_ask_jobs(self, ask: AskJobs, envelope: Envelope) -> None:
        """Carry out a command about a job, and answer."""
        try:
            answer = self._answer(ask.envelope.payload, ask.who)
        except (Refusal, Unavailable) as why:
            answer = reply_of(why)
        self.reply(ask.envelope, answer)
        self.tell("judicator", CallsAnswered(self.name, 1, JOB_BYTES))

    def _answer(self, asked: object, who: Identity) -> object:
        match asked:
            case CreateJob():
                return self._create(asked, who)
            case RetryJob():
                return self._retry(asked, who)
            case CancelJob():
                by = f"cancelled by {who.user}" if who.user else "cancelled"
                job = self._store.request_job_cancel(asked.job_id, by, asked.owner)
                return JobViews(jobs=() if job is None else (job,))
            case _:
                raise Fault(f"jobs has no answer to {type(asked).__name__}")

    def _create(self, asked: CreateJob, who: Identity) -> JobAccepted:
        new = asked.job
        check_new_job(new)
        rows = self._read_rows(new.rows_file)
        check_rows(new, rows)
        others = {each.task_id for each in new.template.depends_on}
        problems = broken({new.id: others}, self._standings(others, who))
        if problems:
            raise Refusal(problems[new.id], field="depends_on")
        job = Job(
            id=new.id,
            template=new.template,
            rows_file=new.rows_file,
            total=new.total,
            name=new.name,
            names=new.names,
            max_parallel=new.max_parallel,
            max_failures=new.max_failures,
            request_digest=new.request_digest,
            owner=who.user,
            created_at=self.now().unix_s,
        )
        return self._accept(job, rows, who)

    def _standings(self, others: Collection[str], who: Identity) -> Mapping[str, State]:
        return self._store.standings(sorted(others), reach_of(who), needed_at=self.now().unix_s)

    def _retry(self, asked: RetryJob, who: Identity) -> JobAccepted:
        """A job of the same values where a task ended so; the old one never changes (P7)."""
        (old,) = self._store.jobs([asked.job_id]) or (None,)
        if old is None or asked.owner not in (None, old.owner):
            raise Refusal(f"there is no job {asked.job_id}", code="not_found", field="id")
        if old.finished_at is None:
            raise Refusal("the job is not finished: wait for it, or cancel it", code="conflict", field="id")
        places = self._places(old, asked.states)
        if not places:
            raise Refusal("the job has no such task to retry", code="conflict", field="id")
        rows = self._read_rows(old.rows_file).only(places)
        content = encode_rows(rows)
        sha256 = hashlib.sha256(content).hexdigest()
        chunks = (content[at : at + CHUNK_BYTES] for at in range(0, len(content), CHUNK_BYTES))
        self._store.put_file(sha256, len(content), chunks, who.user)
        job = replace(
            old,
            id=asked.id,
            rows_file=sha256,
            total=len(places),
            request_digest=asked.request_digest,
            owner=who.user,
            created_at=self.now().unix_s,
            retried_from=old.id,
            created=0,
            cancel_requested=False,
            reason="",
            finished_at=None,
            counts={},
        )
        return self._accept(job, rows, who)

    def _places(self, job: Job, states: Sequence[State]) -> list[int]:
        """Where the tasks of a job are that ended in one of `states`."""
        places: list[int] = []
        after = ""
        while True:
            found = self._store.job_tasks(job, states, PLACES_AT_A_TIME, after)
            places += [place_of(task_id) for task_id in found]
            if len(found) < PLACES_AT_A_TIME:
                return sorted(places)
            after = found[-1]

    def _accept(self, job: Job, rows: Rows, who: Identity) -> JobAccepted:
        """Store a job and the first of its tasks."""
        if job.template is not None:
            self._store.touch_files(file_ids_of(job.template))
        if not self._store.jobs([job.id]):
            check_queued(self._store, who.user, who.quota.queued, job.total)
        answer = self._store.insert_job(job)
        if answer == "conflict":
            raise Refusal("this id or idempotency key was used for another request", code="conflict")
        if answer == "created":
            self._remember(job.id, rows)
            try:
                self._make_some(job)
            except Unavailable as why:
                self.log.warning("the leader makes the tasks of a job", job=job.id, reason=str(why))
        (stored,) = self._store.jobs([job.id])
        return JobAccepted(job=replace(stored, template=None), created=answer == "created")

    # --- making tasks ----------------------------------------------------------------------------

    def _make_some(self, job: Job) -> Job | None:
        """Make the next tasks; the job as it then is."""
        rows = self._rows_of(job)
        places = range(job.created, min(job.created + TASKS_AT_A_TIME, job.total))
        tasks = [make_task(job, rows, place) for place in places]
        for answer in self._store.insert(tasks):
            if answer.answer == "conflict":
                self.log.error("the id of a job's task is another task's", job=job.id, task=answer.task_id)
        after = self._store.advance_job(job.id, places.stop)
        whole = self._leads and sum(bytes_of(task.spec) for task in tasks) <= TOLD_HERE_BYTES * len(tasks)
        self.send(SCHEDULER, TasksQueued(tasks=tuple(queued_of(task, whole=whole) for task in tasks)))
        return after

    def _rows_of(self, job: Job) -> Rows:
        if job.id not in self._rows:
            self._remember(job.id, self._read_rows(job.rows_file))
        return self._rows[job.id]

    def _remember(self, job_id: str, rows: Rows) -> None:
        self._rows[job_id] = rows
        while len(self._rows) > ROWS_REMEMBERED:
            self._rows.popitem(last=False)

    def _read_rows(self, sha256: str) -> Rows:
        """The values in a stored file, which is marked as used."""
        if not self._store.has_file(sha256):
            raise Refusal(f"there is no file {sha256}", code="not_found", field="rows_file")
        content = bytearray()
        while True:
            size, data = self._store.read_file(sha256, len(content), CHUNK_BYTES)
            if size > MAX_ROWS_BYTES:
                raise Refusal(
                    f"array: at most {MAX_ROWS_BYTES} bytes of values", code="too_large", field="array"
                )
            content += data
            if len(content) >= size or not data:
                return decode_rows(bytes(content))

    # --- seeing to their end, on the leader ------------------------------------------------------

    def handle_leading_with(self, leading: LeadingWith, envelope: Envelope) -> None:
        """Does this node lead?"""
        self._leads = leading.epoch != Epoch()

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Begin a round over the open jobs, a page of them at a time."""
        if not self._leads or self._round:
            return
        try:
            found = self._store.open_jobs(self._after, JOBS_AT_A_TIME)
        except Unavailable as why:
            self.log.warning("cannot look for open jobs", reason=str(why))
            return
        full = len(found) == JOBS_AT_A_TIME
        self._after = (found[-1].created_at, found[-1].id) if full else (0.0, "")
        self._round.extend(found)
        if self._round:
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """One step for one job: others, and those who ask, have their turn before its next one."""
        if not self._leads or not self._round:
            self._round.clear()
            return
        job = self._round.popleft()
        try:
            further = self._step(job)
        except Unavailable as why:
            self.log.warning("a job has to wait", job=job.id, reason=str(why))
        except Refusal as why:
            self.log.error("a job cannot go on", job=job.id, reason=str(why))
        else:
            if further is not None:
                self._round.append(further)
        if self._round:
            self.tell(self.name, Flush())

    def _step(self, job: Job) -> Job | None:
        """Do the next thing for a job; it as it then is, or None when there is nothing more now."""
        if job.cancel_requested:
            task_ids = self._store.job_uncancelled(job, TASKS_AT_A_TIME)
            if task_ids:
                asked = self._store.request_cancel(task_ids, self.now().unix_s)
                self.send(SCHEDULER, CancelsRequested(tasks=tuple(map(queued_of, asked))))
                return job
        elif job.max_failures is not None:
            failed = self._store.job_tasks(job, (State.FAILED,), job.max_failures + 1)
            if len(failed) > job.max_failures:
                why = f"more than {job.max_failures} of its tasks failed"
                return self._store.request_job_cancel(job.id, why)
        if job.created < job.total:
            return self._make_some(job)
        if not self._store.job_tasks(job, UNFINISHED, 1):
            self._store.finish_job(job.id, self.now().unix_s)
            self._rows.pop(job.id, None)
        return None
