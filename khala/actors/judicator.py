"""Commands and queries, on every judicator: what becomes of those that the front door let in.

It validates and hands on: writes to Submissions and Uploads, reads to the readers, people's affairs to
Accounts, questions about executors to the leader. It touches neither disk nor network itself, so it never
keeps anybody waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from khala.actors.actor import Stage
from khala.actors.doorkeeper import LATE
from khala.actors.front_door import FrontDoor
from khala.actors.jobs import JOB_BYTES
from khala.actors.leader_messages import LeadingWith
from khala.actors.measuring import MetricsQuestions, bus_samples, leadership_samples
from khala.actors.messages import (
    AnswerQuery,
    AskJobs,
    CallsAnswered,
    CheckFinished,
    CheckToken,
    FinishedChecked,
    InsertTasks,
    ReplicaSetChecked,
    ServiceChecked,
    TakeChunk,
    Tick,
    ViewChanged,
    ViewWanted,
)
from khala.actors.new_tasks import bytes_of, new_task, refusal_of
from khala.actors.outputs import check_piece, check_range, check_stream
from khala.actors.uploads import check_chunk
from khala.actors.waits import Waits
from khala.bus.envelope import Envelope
from khala.coordination.interface import ClusterView
from khala.core.access import Identity, seen_by
from khala.core.commands import (
    CancelTasks,
    ExecutorViews,
    GetTasks,
    JudicatorView,
    JudicatorViews,
    ListExecutors,
    ListJudicators,
    NotAvailable,
    Ping,
    Pong,
    RemoveJudicator,
    SubmitTasks,
    TaskAccepted,
)
from khala.core.jobs import CancelJob, CreateJob, RetryJob
from khala.core.messages import LeaderAnnounced, TasksSettled
from khala.core.operations import (
    AmendTask,
    DrainExecutor,
    DrainOrdered,
    GetMetrics,
    Metrics,
    PurgeTask,
    Sample,
)
from khala.core.task import Epoch, Task
from khala.core.transfers import GetOutput, PutFileChunk, PutOutput
from khala.core.validation import check_amendment
from khala.errors import Refusal

MOST_TASKS = 1_000
LEADER_ANSWERS_WITHIN_S = 3.0


class Judicator(FrontDoor):
    """`secured` is false on a cluster without a secret, where nobody needs a token; `counted` are further
    metrics of this node."""

    def __init__(
        self,
        stage: Stage,
        *,
        version: str,
        secured: bool,
        counted: Callable[[], Iterable[Sample]] = tuple,
    ) -> None:
        super().__init__(stage, secured=secured)
        self._version = version
        self._secured = secured
        self._view = ClusterView()
        self._epoch = Epoch()
        self._waits = Waits()
        self._executor_questions: list[tuple[float, Envelope, Identity, str]] = []
        self._metrics = MetricsQuestions()
        self._counted = counted
        self._newest, self._elections = Epoch(), 0
        self._services: dict[str, ServiceChecked] = {}
        self._replica_set = ReplicaSetChecked({}, frozenset(), writable=True)

    def begin(self) -> None:
        """Ask where the cluster stands."""
        self.tell("membership", ViewWanted())

    def callers(self) -> Iterable[Envelope]:
        """Those who wait here: for their token, for tasks to finish, for the leader's answer."""
        questions = [*(e for _, e, *_ in self._executor_questions), *self._metrics.waiting()]
        return [*self._door.parked(), *self._waits.end_all(), *questions]

    # --- writes ----------------------------------------------------------------------------------

    def handle_submit_tasks(self, submit: SubmitTasks, envelope: Envelope) -> None:
        """Validate each task, then have the good ones stored. Without a majority that is refused at once: the
        callers of a write that waits in vain do not know what became of it."""
        if self._too_many(envelope, len(submit.tasks), "tasks"):
            return
        if self._replica_set.lost:
            self.reply(envelope, NotAvailable(detail=f"tasks cannot be stored now: {self._replica_set.lost}"))
            return
        at = self.now().unix_s
        tasks: list[Task] = []
        refused: dict[int, TaskAccepted] = {}
        for place, new in enumerate(submit.tasks):
            try:
                tasks.append(new_task(new, self._who.user, at))
            except Refusal as why:
                refused[place] = refusal_of(new, why)
        size_bytes = sum(bytes_of(task.spec) for task in tasks)
        insert = InsertTasks(self._who, tuple(tasks), refused, size_bytes, envelope)
        self._hand_on("submissions", insert, envelope, items=len(tasks), size_bytes=size_bytes)

    def handle_cancel_tasks(self, cancel: CancelTasks, envelope: Envelope) -> None:
        """Hand on."""
        if not self._too_many(envelope, len(cancel.task_ids), "task_ids"):
            self._hand_on("submissions", cancel, envelope, items=len(cancel.task_ids))
            self._note("tasks.cancel", *_some(cancel.task_ids))

    def handle_amend_task(self, amend: AmendTask, envelope: Envelope) -> None:
        """Hand on what is good."""
        with self._refusing(envelope):
            check_amendment(amend.labels, amend.priority)
            self._hand_on("submissions", amend, envelope)
            self._note("tasks.amend", amend.task_id)

    def handle_purge_task(self, purge: PurgeTask, envelope: Envelope) -> None:
        """Hand on."""
        self._hand_on("submissions", purge, envelope)
        self._note("tasks.purge", purge.task_id)

    def handle_drain_executor(self, drain: DrainExecutor, envelope: Envelope) -> None:
        """Every judicator is connected with every executor: send it the order."""
        order = DrainOrdered(executor=drain.executor, draining=drain.draining)
        if not any(m.role == "executor" and m.name == drain.executor for m in self._view.members.values()):
            self._refuse(envelope, "not_found", "there is no such executor", "executor")
        elif not self.send(f"{drain.executor}/executor", order):
            self.reply(envelope, NotAvailable(detail=f"{drain.executor} is not connected now"))
        else:
            self._note("executors.drain" if drain.draining else "executors.undrain", drain.executor)
            self.reply(envelope, order)

    def handle_put_file_chunk(self, chunk: PutFileChunk, envelope: Envelope) -> None:
        """Hand on."""
        with self._refusing(envelope):
            check_chunk(chunk)
            self._hand_on("uploads", TakeChunk(self._who, chunk), envelope, size_bytes=len(chunk.data))

    def handle_put_output(self, put: PutOutput, envelope: Envelope) -> None:
        """Hand on."""
        with self._refusing(envelope):
            check_piece(put)
            self._hand_on("outputs", put, envelope, size_bytes=len(put.data))

    def _ask_jobs(self, command: CreateJob | CancelJob | RetryJob, envelope: Envelope) -> None:
        """Hand on."""
        self._hand_on("jobs", AskJobs(self._who, envelope), envelope, size_bytes=JOB_BYTES)

    handle_create_job = handle_retry_job = _ask_jobs

    def handle_cancel_job(self, cancel: CancelJob, envelope: Envelope) -> None:
        """Hand on."""
        self._ask_jobs(cancel, envelope)
        self._note("jobs.cancel", cancel.job_id)

    def _too_many(self, envelope: Envelope, count: int, field: str) -> bool:
        if count > MOST_TASKS:
            self._refuse(envelope, "too_large", f"at most {MOST_TASKS} tasks in one call", field)
        return count > MOST_TASKS

    # --- reads -----------------------------------------------------------------------------------

    def handle_get_tasks(self, get: GetTasks, envelope: Envelope) -> None:
        """Answer now, or when all of them are finished."""
        if self._too_many(envelope, len(get.task_ids), "task_ids"):
            return
        if not (get.wait_s > 0 and get.task_ids):
            self._query(envelope)
        elif not self._waits.begin(get, envelope, self.now().boot_s):
            busy = "as many callers as this judicator takes wait for tasks already"
            self.reply(envelope, NotAvailable(detail=busy, retry_after_s=2.0))
        elif not self._waits.are_new(get):
            self._ask_reader(CheckFinished(tuple(get.task_ids), owner=get.owner))

    def handle_calls_answered(self, answered: CallsAnswered, envelope: Envelope) -> None:
        """There is room again, and some tasks are new."""
        self._waits.created(answered.created)
        super().handle_calls_answered(answered, envelope)

    def handle_finished_checked(self, checked: FinishedChecked, envelope: Envelope) -> None:
        """Some of what is waited for is finished already."""
        self._query_all(self._waits.checked(checked))

    def handle_tasks_settled(self, settled: TasksSettled, envelope: Envelope) -> None:
        """The leader recorded outcomes."""
        self.tell("followers", settled)
        self._query_all(self._waits.finished(settled.task_ids))

    def _read(self, command: object, envelope: Envelope) -> None:
        """Hand to a reader."""
        self._query(envelope)

    handle_search_tasks = handle_count_tasks = handle_get_file_chunk = _read
    handle_get_jobs = handle_search_jobs = _read

    def handle_get_output(self, get: GetOutput, envelope: Envelope) -> None:
        """Hand to those who wait for more, too."""
        with self._refusing(envelope):
            check_stream(get.task_id, get.attempt, get.phase, get.stream)
            check_range(get.offset, get.length)
            self._hand_on("followers", get, envelope)

    def _query(self, envelope: Envelope) -> None:
        self._hand_on(self._reader(), AnswerQuery(envelope), envelope, instead=self._reader())

    def _query_all(self, envelopes: Iterable[Envelope]) -> None:
        for envelope in envelopes:
            self._query(envelope)

    # --- the cluster -----------------------------------------------------------------------------

    def handle_ping(self, ping: Ping, envelope: Envelope) -> None:
        """Ready means: coordination answers, somebody leads, and the store can be written."""
        view = self._view
        pong = Pong(
            judicator=self.stage.node,
            version=self._version,
            ready=view.connected and bool(view.leader) and self._replica_set.writable,
            leader=view.leader,
            epoch=self._epoch,
            secured=self._secured,
        )
        self.reply(envelope, pong)

    def handle_list_judicators(self, asked: ListJudicators, envelope: Envelope) -> None:
        """Registered judicators, from coordination."""
        restarts = {name: checked.restarts for name, checked in self._services.items()}
        views = tuple(
            JudicatorView(
                name=name,
                address=registration.address,
                leader=name == self._view.leader,
                restarts=restarts if name == self.stage.node else {},
                replica_state=self._replica_set.states.get(name, ""),
                replica_lag_s=self._replica_set.lags_s.get(name),
                live=("judicator", name) in self._view.members,
                leaving=registration.leaving,
                voting=name in self._replica_set.voters,
            )
            for name, registration in sorted(self._view.registered.items())
        )
        self.reply(envelope, JudicatorViews(judicators=views, epoch=self._epoch))

    def handle_remove_judicator(self, remove: RemoveJudicator, envelope: Envelope) -> None:
        """Hand on; it is rare, and bounded by what the bus takes."""
        destination = f"{self.stage.node}/replica-set"
        if not self.stage.bus.send(destination, remove, sender=envelope.sender, cause=envelope.id):
            self.reply(envelope, NotAvailable(detail="the replica-set actor is being started again"))
        else:
            self._note("judicators.remove", remove.name)

    def handle_get_metrics(self, asked: GetMetrics, envelope: Envelope) -> None:
        """The leader's numbers, and this node's."""
        if self._metrics.ask(envelope, self.now().boot_s) and not self.send("leader/scheduler", GetMetrics()):
            self._answer_metrics(())

    def handle_metrics(self, metrics: Metrics, envelope: Envelope) -> None:
        """The leader's answer."""
        self._answer_metrics(metrics.samples)

    def _answer_metrics(self, leaders: Sequence[Sample]) -> None:
        node, leads = self.stage.node, self._view.leader == self.stage.node
        own = (
            *bus_samples(node, self.stage.bus.stats()),
            *leadership_samples(node, leads=leads, elections=self._elections),
            *self._counted(),
        )
        for envelope in self._metrics.end():
            self.reply(envelope, Metrics(samples=(*leaders, *own)))

    def handle_list_executors(self, asked: ListExecutors, envelope: Envelope) -> None:
        """Only the leader knows: ask it once for all who ask the same at the moment."""
        place_of = asked.place_of
        asks = all(place_of != other for *_, other in self._executor_questions)
        self._executor_questions.append((self.now().boot_s, envelope, self._who, place_of))
        if asks and not self.send("leader/scheduler", ListExecutors(place_of=place_of)):
            self._answer_executors(NotAvailable(detail="a leader is being elected"))

    def handle_executor_views(self, views: ExecutorViews, envelope: Envelope) -> None:
        """The leader's answer. An older leader knows no places: its answer is then for all who are left."""
        if views.place is not None:
            self._answer_executors(views, views.place.task_id)
        else:
            asked_for_none = any(not place for *_, place in self._executor_questions)
            self._answer_executors(views, "" if asked_for_none else None)

    def handle_not_available(self, answer: NotAvailable, envelope: Envelope) -> None:
        """The leader's answer when it does not lead yet."""
        self._answer_executors(answer)

    def _answer_executors(self, answer: object, place_of: str | None = None) -> None:
        """Answer all who asked for that place, or everybody."""
        questions, self._executor_questions = self._executor_questions, []
        for question in questions:
            _, envelope, who, place = question
            if place_of in (None, place):
                self.reply(envelope, seen_by(who, answer))
            else:
                self._executor_questions.append(question)

    def handle_view_changed(self, seen: ViewChanged, envelope: Envelope) -> None:
        """Where the cluster stands now."""
        self._view = seen.view

    def handle_leading_with(self, leading: LeadingWith, envelope: Envelope) -> None:
        """Which epoch this node leads with, if it does."""
        self._epoch = leading.epoch
        self._count_election(leading.epoch)

    def handle_leader_announced(self, announced: LeaderAnnounced, envelope: Envelope) -> None:
        """Which epoch another judicator leads with."""
        self._epoch = max(self._epoch, announced.epoch)
        self._count_election(announced.epoch)

    def _count_election(self, epoch: Epoch) -> None:
        if epoch > self._newest:
            self._newest = epoch
            self._elections += 1

    def handle_service_checked(self, checked: ServiceChecked, envelope: Envelope) -> None:
        """How a native service of this node does."""
        self._services[checked.service] = checked

    def handle_replica_set_checked(self, checked: ReplicaSetChecked, envelope: Envelope) -> None:
        """How the replica set stands."""
        self._replica_set = checked

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """End waits whose time is up; ask again what a lost message may have left without an answer."""
        now = self.now().boot_s
        for late in self._door.overdue(now):
            self.reply(late, LATE)
        for digest in self._door.ask_again(now):
            self._ask_reader(CheckToken(digest))
        self._query_all(self._waits.expired(now))
        check = self._waits.check_again(now)
        if check is not None:
            self._ask_reader(check)
        if self._metrics.overdue(now):
            self._answer_metrics(())
        if self._executor_questions and now - self._executor_questions[0][0] > LEADER_ANSWERS_WITHIN_S:
            self._answer_executors(NotAvailable(detail="the leader did not answer in time"))


def _some(task_ids: Sequence[str]) -> tuple[str, str]:
    """The target and the detail of an action upon several tasks, for the record."""
    return " ".join(task_ids[:20]), f"{len(task_ids)} tasks" if len(task_ids) > 1 else ""
