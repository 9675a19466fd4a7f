"""A whole cluster in one process: real actors and real commands, over the in-memory twins of bus,
coordination and store. Time passes by itself; `World.advance` makes it jump."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from actors.called_bus import CalledBus
from actors.servers import EtcdServers, Members
from actors.trouble import Trouble
from uids import uids_of_node
from wait import wait_until

from khala.actors.accounts import Accounts
from khala.actors.actor import Stage
from khala.actors.cleaner import Cleaner
from khala.actors.delivery import Delivery
from khala.actors.executor import Executor
from khala.actors.file_delivery import FileDelivery
from khala.actors.followers import Followers
from khala.actors.front_door import READERS
from khala.actors.heartbeat import Heartbeat
from khala.actors.jobs import Jobs
from khala.actors.judicator import Judicator
from khala.actors.membership import CUT_OFF, Membership
from khala.actors.messages import AreYouUp
from khala.actors.outputs import Outputs
from khala.actors.replica_set import ReplicaSet, Upkeep
from khala.actors.scheduler import Scheduler
from khala.actors.slot import Slot
from khala.actors.store_reader import SCHEDULER_READER, StoreReader
from khala.actors.store_writer import StoreWriter
from khala.actors.submissions import Submissions
from khala.actors.supervisor import Role, Supervisor
from khala.actors.ticker import Ticker
from khala.actors.uploads import Uploads
from khala.bus.interface import BusSettings
from khala.bus.loopback_network import FaultPlan, LoopbackNetwork, LoopbackPump
from khala.coordination.interface import ClusterView, Member, Registration
from khala.coordination.memory import CoordinationHub, MemoryCoordination
from khala.core.commands import Caller, GetTasks, NewTask, SubmitTasks
from khala.core.execution.holdings import Capacity
from khala.core.execution.machine import ExecutorMachine
from khala.core.execution.speech import Identity
from khala.core.instant import Instant
from khala.core.journal import JournalRecord
from khala.core.retention import Retention
from khala.core.task import Command, Task, TaskSpec
from khala.core.transfers import PutFileChunk, PutOutput
from khala.errors import Unavailable
from khala.execution.job import LauncherEvent
from khala.execution.journal import Journal
from khala.execution.pool import LauncherPool
from khala.execution.settings import ExecutionSettings, prepare_workspace_root
from khala.execution.spools import Spools
from khala.store.memory import MemoryStore

LEADER_LEASE_S, EXECUTOR_LEASE_S = 3.0, 6.0
LONGEST_STEP_S = 0.5
JUDICATOR_TICKS_S = {
    "scheduler": 0.02,
    "judicator": 0.05,
    "uploads": 0.05,
    "jobs": 0.05,
    "cleaner": 0.05,
    "followers": 0.05,
    "replica-set": 0.05,
}
EXECUTOR_TICKS_S = {"executor": 0.02, "delivery": 0.02, "file-delivery": 0.02, "heartbeat": 0.1}


class Clock:
    """The host's clocks, and jumps. While nobody reads it, it hardly moves: where all stood still for
    longer than a lease, nobody has lost one."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._lock = threading.Lock()
        self._read_s = time.clock_gettime(time.CLOCK_BOOTTIME)

    def __call__(self) -> Instant:
        with self._lock:
            now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
            self.ahead_s -= max(0.0, now_s - self._read_s - LONGEST_STEP_S)
            self._read_s = now_s
            return Instant(now_s + self.ahead_s, time.time())

    def advance(self, seconds: float) -> None:
        """Jump."""
        with self._lock:
            self.ahead_s += seconds


class TightJournal(Journal):
    """A journal whose disk is full when the test says so."""

    full = False

    def append(self, records: Sequence[JournalRecord]) -> None:
        if self.full:
            raise Unavailable("the disk is full")
        super().append(records)


class Node:
    """One node: its bus, its part in coordination, its actors and its ticker."""

    def __init__(self, world: World, name: str, role: str, ticks_s: dict[str, float], lease_s: float) -> None:
        self.name = name
        incarnation = f"{name}-{next(world.incarnations)}"
        self.bus = CalledBus(world.network, BusSettings(node=name, role=role, incarnation=incarnation))
        self.coordination = MemoryCoordination(world.hub, lease_ttl_s=lease_s)
        details = {"mongod": f"{name}:3000"} if role == "judicator" else {}
        self.member = Member(
            name=name, role=role, incarnation=incarnation, address=f"{name}:4000", details=details
        )
        self.registration = Registration(address=f"{name}:4000", mongod=f"{name}:3000", etcd=name)
        self.removed = threading.Event()
        self.gave_up: list[str] = []
        self._world = world
        self._ticker = Ticker(name, self.bus, ticks_s)
        self._undo: list[Callable[[], object]] = []

    def start(self, cast: Callable[[Stage], Sequence[Role]]) -> None:
        self.bus.start()
        self.supervisor = Supervisor.start(
            lambda failed: cast(Stage(node=self.name, bus=self.bus, clock=self._world.clock, failed=failed)),
            clock=self._world.clock,
            gave_up=self.gave_up.append,
        )
        self.supervisor.ask(AreYouUp(), timeout=60)
        self.coordination.start(self.member, lambda view: self.bus.send(f"{self.name}/membership", view))
        self._ticker.start()

    def on_close(self, undo: Callable[[], object]) -> None:
        self._undo.append(undo)

    def close(self) -> None:
        self._ticker.stop()
        self.coordination.close()
        self.supervisor.stop(timeout=60)
        self.bus.close()
        for undo in reversed(self._undo):
            undo()


def judicators_of(view: ClusterView) -> dict[str, str]:
    return {m.name: m.address for m in view.members.values() if m.role == "judicator"}


class World:
    """One judicator to begin with, and as many executors as a test starts."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.trouble = Trouble()
        self.store = MemoryStore(faults=self.trouble, record_history=True)
        self.store.prepare()
        self.hub = CoordinationHub(clock=lambda: self.clock().boot_s)
        self.network = LoopbackNetwork(seed=7)
        self.replica_set = Members()
        self.etcd = EtcdServers()
        self.keep = Retention()
        self.incarnations = itertools.count(1)
        self.folder = folder
        self.put_fault: Exception | None = None
        self.puts_failed = 0
        self._gate = Path(tempfile.mkdtemp(prefix="khala-actors-gate-", dir="/tmp"))
        self._gate.chmod(0o755)
        self._ids = itertools.count(1)
        self._nodes: list[Node] = []
        self._pump = LoopbackPump(self.network)
        self._pump.start()
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="hub")
        self._heart.start()

    def judicator(self, *, secured: bool = False, campaign: bool = True) -> Node:
        """Start a judicator, and wait until it is ready."""
        node = Node(self, f"j{len(self._nodes) + 1}", "judicator", JUDICATOR_TICKS_S, LEADER_LEASE_S)
        self._nodes.append(node)
        node.start(partial(self._judicator_cast, node, secured))
        node.coordination.register_judicator(node.name, node.registration)
        if campaign:
            node.coordination.campaign()
        return node

    def executor(self, *, slots: int = 2) -> Node:
        """Start an executor with real launchers."""
        node = Node(self, f"e{len(self._nodes) + 1}", "executor", EXECUTOR_TICKS_S, EXECUTOR_LEASE_S)
        self._nodes.append(node)
        root = Path(tempfile.mkdtemp(prefix="khala-actors-", dir="/tmp"))
        spools = Spools(self.folder / f"{node.name}.spool")
        settings = ExecutionSettings(
            slots=slots,
            workspace_root=root,
            uid_base=uids_of_node(len(self._nodes), nodes=8),
            kill_grace_s=0.2,
            spool_root=self.folder / f"{node.name}.spool",
        )
        prepare_workspace_root(root, settings.slot_uid(0))

        def said(event: LauncherEvent) -> None:
            node.bus.send(f"{node.name}/executor", event)

        pool = LauncherPool(settings, said)
        pool.start()
        journal = self.journal = TightJournal(self.folder / f"{node.name}.journal")
        node.on_close(lambda: rmtree(root))
        node.on_close(pool.close)
        node.on_close(journal.close)
        node.start(partial(self._executor_cast, node, pool, journal, spools, slots))
        return node

    def _judicator_cast(self, node: Node, secured: bool, stage: Stage) -> Sequence[Role]:
        def role(called: str, kind: Any, **options: Any) -> Role:
            return Role(name=called, start=partial(kind.start, stage, **options))

        membership = {
            "coordination": node.coordination,
            "listeners": ("scheduler", "judicator", "replica-set"),
            "peers_of": lambda view: {n: a for n, a in judicators_of(view).items() if n < node.name},
        }
        upkeep = Upkeep(
            replica_set=self.replica_set,
            etcd=self.etcd,
            coordination=node.coordination,
            own=node.registration,
            give_up_after_s=600.0,
            removed=node.removed.set,
        )
        self.etcd.servers.append(node.name)
        return [
            *(role(name, StoreReader, name=name, store=self.store) for name in (*READERS, SCHEDULER_READER)),
            role("store-writer", StoreWriter, store=self.store),
            role("submissions", Submissions, store=self.store),
            role("jobs", Jobs, store=self.store),
            role("cleaner", Cleaner, store=self.store, keep=self.keep, idle_s=0.05, busy_s=0.0),
            role("uploads", Uploads, store=self.store, directory=self.folder),
            role("accounts", Accounts, store=self.store),
            role("followers", Followers, store=self.store),
            role("outputs", Outputs, store=self.store),
            role("replica-set", ReplicaSet, upkeep=upkeep),
            role("scheduler", Scheduler, coordination=node.coordination, lease_s=EXECUTOR_LEASE_S),
            role("judicator", Judicator, version="test", secured=secured),
            Role(name="membership", start=partial(Membership.start, stage, **membership), essential=True),
        ]

    def _executor_cast(
        self, node: Node, pool: LauncherPool, journal: Journal, spools: Spools, slots: int, stage: Stage
    ) -> Sequence[Role]:
        self.drained = threading.Event()
        machine = ExecutorMachine(
            identity=Identity(executor=node.name, incarnation=node.member.incarnation),
            capacity=Capacity(slots=slots, cpus=float(slots)),
            report_interval_s=0.1,
        )
        files = {"spools": spools, "fetch": self._fetch, "release": lambda sha256: None}
        membership = {"coordination": node.coordination, "listeners": (), "peers_of": judicators_of}
        executor = partial(
            Executor.start,
            stage,
            machine=machine,
            journal=journal,
            pool=pool,
            drained=self.drained.set,
            lease_until=node.coordination.lease_until,
            lease_s=EXECUTOR_LEASE_S,
            give_up=lambda gone: node.coordination.update(
                replace(node.member, details={CUT_OFF: "yes"} if gone else {})
            ),
        )
        delivery = partial(Delivery.start, stage, spools=spools, put=self._put)
        file_delivery = partial(FileDelivery.start, stage, spools=spools, put=self._put)
        return [
            Role(name="delivery", start=delivery, essential=True),
            Role(name="file-delivery", start=file_delivery, essential=True),
            *(
                Role(
                    name=f"slot-{number}",
                    start=partial(Slot.start, stage, number=number, pool=pool, **files),
                    essential=True,
                )
                for number in range(slots)
            ),
            Role(name="executor", start=executor, essential=True),
            Role(name="heartbeat", start=partial(Heartbeat.start, stage, has_room=pool.has_room)),
            Role(name="membership", start=partial(Membership.start, stage, **membership)),
        ]

    def _fetch(self, sha256: str) -> Path:
        path = self.folder / sha256
        path.write_bytes(self.store.read_file(sha256, 0, 1 << 20)[1])
        return path

    def _put(self, put: PutOutput | PutFileChunk) -> Future[Any]:
        if self.put_fault is not None:
            failed: Future[Any] = Future()
            failed.set_exception(self.put_fault)
            self.puts_failed += 1
            return failed
        judicator = next(node for node in self._nodes if node.member.role == "judicator")
        return judicator.bus.future(put, "executor")

    def _beat(self) -> None:
        while not self._stop.wait(0.02):
            self.hub.tick()

    def advance(self, seconds: float) -> None:
        """Let time jump, in steps that a renewed lease outlives."""
        for _ in range(round(seconds / 0.5)):
            self.clock.advance(0.5)
            self.hub.tick()

    def plan(self, **faults: Any) -> None:
        """What befalls envelopes between nodes from now on."""
        self.network.plan = FaultPlan(**faults)

    # --- what a client does ----------------------------------------------------------------------

    def ask(self, node: Node, command: object) -> Any:
        """Give a command and wait for its one answer."""
        replies = node.bus.call(command)
        wait_until(replies, what=f"the answer to {type(command).__name__}")
        return replies()[0]

    def new(self, shell: str = "true", **spec: Any) -> NewTask:
        """A task that runs a shell command."""
        return NewTask(id=f"{next(self._ids):024x}", spec=TaskSpec(execute=Command(shell=shell), **spec))

    def held(self, **spec: Any) -> NewTask:
        """A task that runs until `let_go`."""
        return self.new(f"until [ -e {self._gate}/open ]; do sleep 0.02; done", **spec)

    def let_go(self) -> None:
        """End the tasks that are held, now and whenever they start."""
        (self._gate / "open").touch()

    def submit(self, node: Node, *tasks: NewTask, token: str = "") -> list[str]:
        """Submit, and see each accepted; the ids."""
        answer = self.ask(node, SubmitTasks(tasks=tasks, caller=Caller(token=token)))
        assert [result.error_detail for result in answer.results] == [""] * len(tasks)
        return [result.task_id for result in answer.results]

    def finished(self, node: Node, task_ids: Sequence[str]) -> list[Task]:
        """Wait for tasks in the way that a client does."""

        def found() -> list[Task]:
            answer = self.ask(node, GetTasks(task_ids=tuple(task_ids), wait_s=15.0))
            states = Counter(task.control.state for task in answer.tasks)
            assert len(answer.tasks) == len(task_ids) and all(t.control.finished_at for t in answer.tasks), (
                states
            )
            return list(answer.tasks)

        return wait_until(found, what="the end of the tasks")

    def ended_once(self, task_id: str) -> None:
        """Its story is gap-free, and ends once."""
        events = [event for _, found, event in self.store.history if found == task_id]
        assert [event.rev for event in events] == list(range(1, len(events) + 1))
        assert [event.to_state in ("succeeded", "failed", "cancelled") for event in events].count(True) == 1

    def close(self) -> None:
        self._stop.set()
        self._heart.join()
        for node in reversed(self._nodes):
            node.close()
        self._pump.stop()
        rmtree(self._gate)
