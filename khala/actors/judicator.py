"""The front door for commands and queries, on every judicator.

It authorises, validates and hands on: writes to Submissions and Uploads, reads to the readers,
questions about executors to the leader. It touches neither disk nor network itself, so it never
keeps anybody waiting; whoever it hands an envelope to answers it.
"""

from __future__ import annotations

from collections import OrderedDict

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import (
    AnswerQuery,
    CheckFinished,
    CheckToken,
    FinishedChecked,
    InsertTasks,
    ServiceChecked,
    Tick,
    TokenChecked,
    ViewChanged,
    ViewWanted,
)
from khala.bus.envelope import Envelope
from khala.coordination.interface import ClusterView
from khala.core.access import may, token_digest
from khala.core.commands import (
    CancelTasks,
    CountTasks,
    ExecutorViews,
    GetFileChunk,
    GetTasks,
    JudicatorView,
    JudicatorViews,
    ListExecutors,
    ListJudicators,
    NewTask,
    NotAvailable,
    Ping,
    Pong,
    PutFileChunk,
    Refused,
    SearchTasks,
    SubmitTasks,
    TaskAccepted,
)
from khala.core.messages import TasksSettled
from khala.core.task import State, Task, TaskControl, TaskEvent
from khala.core.validation import validate_spec
from khala.core.waiting import Waiters
from khala.errors import Refusal

TOKEN_FOR_S = 10.0
TOKENS_REMEMBERED = 10_000
MOST_TASKS = 1_000
WAIT_MOST_S = 300.0
WAITERS_MOST = 10_000
LEADER_ANSWERS_WITHIN_S = 3.0
READERS = ("reader-1", "reader-2")


class Judicator(NodeActor):
    """`secured` is false on a cluster without a secret, where nobody needs a token."""

    def __init__(self, stage: Stage, *, version: str, secured: bool) -> None:
        super().__init__(stage, "judicator")
        self._version = version
        self._secured = secured
        self._view = ClusterView()
        self._tokens: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._unchecked: dict[str, list[Envelope]] = {}
        self._waiters = Waiters()
        self._executor_questions: list[tuple[float, Envelope]] = []
        self._services: dict[str, ServiceChecked] = {}
        self._next_reader = 0

    def begin(self) -> None:
        """Ask where the cluster stands."""
        self.tell("membership", ViewWanted())

    # --- authorisation ---------------------------------------------------------------------------

    def on_receive(self, message: Envelope) -> None:
        """Commands pass the doorkeeper; everything else comes from this cluster's own actors."""
        if message.sender.startswith("rpc/") and not self._admit(message):
            return
        super().on_receive(message)

    def _admit(self, envelope: Envelope) -> bool:
        command = type(envelope.payload)
        if not self._secured or may("", command):
            return True
        caller = getattr(envelope.payload, "caller", None)
        if caller is None or not caller.token:
            self._refuse(envelope, "unauthorized", "a token is needed: Authorization: Bearer …")
            return False
        digest = token_digest(caller.token)
        role, until = self._tokens.get(digest, ("", 0.0))
        if until < self.now().boot_s:
            waiting = self._unchecked.setdefault(digest, [])
            waiting.append(envelope)
            if len(waiting) == 1:
                self.tell(self._reader(), CheckToken(digest))
            return False
        if not role:
            self._refuse(envelope, "unauthorized", "this token is not known, or no longer valid")
            return False
        if not may(role, command):
            self._refuse(envelope, "forbidden", f"a token of the role {role} may not do this")
            return False
        return True

    def handle_token_checked(self, checked: TokenChecked, envelope: Envelope) -> None:
        """The store knows, or does not know, a token: go on with those who showed it."""
        waiting = self._unchecked.pop(checked.digest, [])
        if checked.failed:
            for parked in waiting:
                self.stage.bus.reply(parked, NotAvailable(detail=checked.failed))
            return
        self._tokens[checked.digest] = (checked.role, self.now().boot_s + TOKEN_FOR_S)
        while len(self._tokens) > TOKENS_REMEMBERED:
            self._tokens.popitem(last=False)
        for parked in waiting:
            self.on_receive(parked)

    def _refuse(self, envelope: Envelope, code: str, detail: str, field: str = "") -> None:
        self.stage.bus.reply(envelope, Refused(code=code, detail=detail, field=field))

    # --- writes ----------------------------------------------------------------------------------

    def handle_submit_tasks(self, submit: SubmitTasks, envelope: Envelope) -> None:
        """Validate each task, then have the good ones stored."""
        if len(submit.tasks) > MOST_TASKS:
            self._refuse(envelope, "too_large", f"at most {MOST_TASKS} tasks in one call", "tasks")
            return
        at = self.now().unix_s
        tasks: list[Task] = []
        refused: dict[int, object] = {}
        for place, new in enumerate(submit.tasks):
            try:
                tasks.append(_new_task(new, token_owner(submit), at))
            except Refusal as why:
                refused[place] = TaskAccepted(
                    task_id=new.id,
                    created=False,
                    error_code=why.code,
                    error_detail=why.detail,
                    error_field=why.field,
                )
        self.tell("submissions", InsertTasks(tuple(tasks), refused, envelope))

    def handle_cancel_tasks(self, cancel: CancelTasks, envelope: Envelope) -> None:
        """Hand on."""
        if len(cancel.task_ids) > MOST_TASKS:
            self._refuse(envelope, "too_large", f"at most {MOST_TASKS} tasks in one call", "task_ids")
            return
        self._hand_on("submissions", envelope)

    def handle_put_file_chunk(self, chunk: PutFileChunk, envelope: Envelope) -> None:
        """Hand on."""
        self._hand_on("uploads", envelope)

    def _hand_on(self, actor: str, envelope: Envelope) -> None:
        """Give the envelope itself to another actor of this node, which answers the caller."""
        self.stage.bus.send(
            f"{self.stage.node}/{actor}", envelope.payload, sender=envelope.sender, cause=envelope.id
        )

    # --- reads -----------------------------------------------------------------------------------

    def handle_get_tasks(self, get: GetTasks, envelope: Envelope) -> None:
        """Answer now, or when all of them are finished."""
        if len(get.task_ids) > MOST_TASKS:
            self._refuse(envelope, "too_large", f"at most {MOST_TASKS} tasks in one call", "task_ids")
        elif get.wait_s <= 0:
            self._query(envelope)
        elif len(self._waiters) >= WAITERS_MOST:
            busy = NotAvailable(detail=f"{WAITERS_MOST} callers wait already", retry_after_s=2.0)
            self.stage.bus.reply(envelope, busy)
        else:
            until = self.now().boot_s + min(get.wait_s, WAIT_MOST_S)
            number = self._waiters.add(get.task_ids, until, envelope)
            self.tell(self._reader(), CheckFinished(number, tuple(get.task_ids)))

    def handle_finished_checked(self, checked: FinishedChecked, envelope: Envelope) -> None:
        """What a new waiter waits for may be finished already."""
        self._end_waits(self._waiters.finished(checked.task_ids))

    def handle_tasks_settled(self, settled: TasksSettled, envelope: Envelope) -> None:
        """The leader recorded outcomes."""
        self._end_waits(self._waiters.finished(settled.task_ids))

    def _end_waits(self, over: list[object]) -> None:
        for envelope in over:
            if isinstance(envelope, Envelope):
                self._query(envelope)

    def handle_search_tasks(self, search: SearchTasks, envelope: Envelope) -> None:
        """Hand to a reader."""
        self._query(envelope)

    def handle_count_tasks(self, count: CountTasks, envelope: Envelope) -> None:
        """Hand to a reader."""
        self._query(envelope)

    def handle_get_file_chunk(self, get: GetFileChunk, envelope: Envelope) -> None:
        """Hand to a reader."""
        self._query(envelope)

    def _query(self, envelope: Envelope) -> None:
        self.tell(self._reader(), AnswerQuery(envelope))

    def _reader(self) -> str:
        self._next_reader = (self._next_reader + 1) % len(READERS)
        return READERS[self._next_reader]

    # --- the cluster -----------------------------------------------------------------------------

    def handle_ping(self, ping: Ping, envelope: Envelope) -> None:
        """Ready means: coordination answers and somebody leads."""
        pong = Pong(
            judicator=self.stage.node,
            version=self._version,
            ready=self._view.connected and bool(self._view.leader),
            leader=self._view.leader,
            secured=self._secured,
        )
        self.stage.bus.reply(envelope, pong)

    def handle_list_judicators(self, asked: ListJudicators, envelope: Envelope) -> None:
        """Registered judicators, from coordination."""
        restarts = {name: checked.restarts for name, checked in self._services.items()}
        views = tuple(
            JudicatorView(
                name=name,
                address=address,
                leader=name == self._view.leader,
                restarts=restarts if name == self.stage.node else {},
            )
            for name, address in sorted(self._view.registered.items())
        )
        self.stage.bus.reply(envelope, JudicatorViews(judicators=views))

    def handle_list_executors(self, asked: ListExecutors, envelope: Envelope) -> None:
        """Only the leader knows: ask it once for all who ask at the moment."""
        self._executor_questions.append((self.now().boot_s, envelope))
        if len(self._executor_questions) == 1 and not self.send("leader/scheduler", ListExecutors()):
            self._answer_executors(NotAvailable(detail="a leader is being elected"))

    def handle_executor_views(self, views: ExecutorViews, envelope: Envelope) -> None:
        """The leader's answer."""
        self._answer_executors(views)

    def handle_not_available(self, answer: NotAvailable, envelope: Envelope) -> None:
        """The leader's answer when it does not lead yet."""
        self._answer_executors(answer)

    def _answer_executors(self, answer: object) -> None:
        questions, self._executor_questions = self._executor_questions, []
        for _, envelope in questions:
            self.stage.bus.reply(envelope, answer)

    def handle_view_changed(self, seen: ViewChanged, envelope: Envelope) -> None:
        """Where the cluster stands now."""
        self._view = seen.view

    def handle_service_checked(self, checked: ServiceChecked, envelope: Envelope) -> None:
        """How a native service of this node does."""
        self._services[checked.service] = checked

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """End waits whose time is up; look after those that a lost hint may have left behind."""
        now = self.now().boot_s
        self._end_waits(self._waiters.expired(now))
        for number, task_ids in self._waiters.unfinished()[:100]:
            self.tell(self._reader(), CheckFinished(number, task_ids))
        if self._executor_questions and now - self._executor_questions[0][0] > LEADER_ANSWERS_WITHIN_S:
            self._answer_executors(NotAvailable(detail="the leader did not answer in time"))


def token_owner(submit: SubmitTasks) -> str:
    """Who owns what is submitted: the digest of the token, or nobody on an open cluster."""
    return token_digest(submit.caller.token) if submit.caller.token else ""


def _new_task(new: NewTask, owner: str, at: float) -> Task:
    """A pending task with the first line of its story; raises Refusal."""
    if len(new.id) != 24 or not all(c in "0123456789abcdef" for c in new.id):
        raise Refusal("a task's id is 24 hexadecimal digits", field="id")
    validate_spec(new.spec)
    event = TaskEvent(rev=1, kind="submitted", at=at, from_state=State.PENDING, to_state=State.PENDING)
    return Task(
        id=new.id,
        spec=new.spec,
        owner=owner,
        created_at=at,
        request_digest=new.request_digest,
        retried_from=new.retried_from,
        control=TaskControl(queued_at=at),
        events=(event,),
    )
