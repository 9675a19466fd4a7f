"""The faults: each begins now, and undoes itself after `lasts_s` seconds of the world's time.

Some are *armed*: they strike when their node is between two steps, such as decide and save.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from simulation.network import Weather

from khala.store.memory import MemoryBackup

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.world import World

Fault = Callable[["World", float], None]


def _crash(world: World, node: Node | None, lasts_s: float) -> None:
    if node is not None and node.up:
        node.crash()
        world.clockwork.after(min(lasts_s, 4.0), node.boot)


def _pause(world: World, node: Node | None, lasts_s: float) -> None:
    if node is not None and node.up:
        node.pause()
        world.clockwork.after(lasts_s, node.resume)


def crash_leader(world: World, lasts_s: float) -> None:
    """kill -9 whoever leads."""
    _crash(world, world.leader(), lasts_s)


def crash_judicator(world: World, lasts_s: float) -> None:
    """kill -9 a judicator."""
    _crash(world, world.clockwork.rng.choice(world.judicators), lasts_s)


def crash_executor(world: World, lasts_s: float) -> None:
    """kill -9 an executor, and restart it as a new incarnation."""
    _crash(world, world.clockwork.rng.choice(world.executors), lasts_s)


def lose_executor(world: World, lasts_s: float) -> None:
    """kill -9 an executor, and restart it after its lease ran out."""
    node = world.clockwork.rng.choice(world.executors)
    if node.up:
        node.crash()
        world.clockwork.after(7.5, node.boot)


def crash_everything(world: World, lasts_s: float) -> None:
    """kill -9 all judicators and executors."""
    for node in (*world.judicators, *world.executors):
        _crash(world, node, world.clockwork.between(0.5, 3.0))


def pause_leader(world: World, lasts_s: float) -> None:
    """Stop the leader past its lease."""
    _pause(world, world.leader(), max(lasts_s, 4.0))


def pause_executor(world: World, lasts_s: float) -> None:
    """Stop an executor past its lease."""
    _pause(world, world.clockwork.rng.choice(world.executors), max(lasts_s, 7.0))


def pause_briefly(world: World, lasts_s: float) -> None:
    """Stop any node for less than its lease."""
    node = world.clockwork.rng.choice((*world.judicators, *world.executors))
    _pause(world, node, min(lasts_s, 2.0))


def crash_between_decide_and_save(world: World, lasts_s: float) -> None:
    """kill -9 the leader when it has decided and not yet written."""
    world.arm("decided", lambda node: _crash(world, node, lasts_s))


def pause_between_decide_and_save(world: World, lasts_s: float) -> None:
    """Stop the leader there, past its lease: its batch goes out when it goes on."""
    world.arm("decided", lambda node: _pause(world, node, max(lasts_s, 4.0)))


def crash_between_save_and_send(world: World, lasts_s: float) -> None:
    """kill -9 the leader when its batch is stored and nobody was told."""
    world.arm("saved", lambda node: _crash(world, node, lasts_s))


def pause_between_save_and_send(world: World, lasts_s: float) -> None:
    """Stop the leader there, past its lease: what it has to say goes out when it goes on."""
    world.arm("sending", lambda node: _pause(world, node, max(lasts_s, 4.0)))


def crash_between_journal_and_send(world: World, lasts_s: float) -> None:
    """kill -9 an executor when its records are on disk and nothing was done about them."""
    world.arm("journalled", lambda node: _crash(world, node, lasts_s))


def partition(world: World, lasts_s: float) -> None:
    """Split all nodes, etcd and the store into two sides."""
    names = [*world.network.nodes, "store"]
    one = [name for name in names if world.clockwork.chance(0.5)]
    other = [name for name in names if name not in one]
    _cut(world, [link for a in one for b in other for link in ((a, b), (b, a))], lasts_s)


def cut_executor_off(world: World, lasts_s: float) -> None:
    """Separate an executor from everybody, past its lease."""
    name = world.clockwork.rng.choice(world.executors).name
    others = [each for each in world.network.nodes if each != name]
    _cut(world, [link for each in others for link in ((each, name), (name, each))], 6.5 + lasts_s / 3)


def one_way_cut(world: World, lasts_s: float) -> None:
    """Close one direction between an executor and a judicator."""
    rng = world.clockwork.rng
    ends = [rng.choice(world.executors).name, (world.leader() or rng.choice(world.judicators)).name]
    rng.shuffle(ends)
    _cut(world, [(ends[0], ends[1])], lasts_s)


def _cut(world: World, links: list[tuple[str, str]], lasts_s: float) -> None:
    world.story("cut: {}", links)
    world.network.cut(links)
    world.clockwork.after(lasts_s, world.network.mend, links)


def lossy_network(world: World, lasts_s: float) -> None:
    """Messages are lost."""
    _weather(world, Weather(drop=world.clockwork.between(0.05, 0.4)), lasts_s)


def doubling_network(world: World, lasts_s: float) -> None:
    """Messages arrive twice, the second maybe much later."""
    _weather(world, Weather(duplicate=0.5, delay=0.3, late_s=1.9), lasts_s)


def slow_network(world: World, lasts_s: float) -> None:
    """Messages overtake each other."""
    _weather(world, Weather(delay=0.5, late_s=world.clockwork.between(0.1, 1.9)), lasts_s)


def lagging_network(world: World, lasts_s: float) -> None:
    """Some messages arrive when nobody thinks of them any more, maybe for the second time."""
    _weather(world, Weather(duplicate=0.2, delay=0.2, late_s=9.0), lasts_s)


def _weather(world: World, weather: Weather, lasts_s: float) -> None:
    world.network.weather = weather
    world.clockwork.after(lasts_s, world.clear_weather, weather)


def store_unknown(world: World, lasts_s: float) -> None:
    """Writes time out; some were applied, some not, some are applied later."""
    world.storage.unknown = world.clockwork.between(0.2, 0.8)
    world.clockwork.after(lasts_s, world.storage.recover)


def store_away(world: World, lasts_s: float) -> None:
    """The store has no majority."""
    world.storage.away = True
    world.clockwork.after(lasts_s, world.storage.recover)


def membership_gap(world: World, lasts_s: float) -> None:
    """etcd answers nobody for a while; afterwards leases may be extended or gone."""
    world.coordination.away = True
    extended = world.clockwork.chance(0.5)
    world.clockwork.after(lasts_s, lambda: world.coordination.return_with(extended=extended))


def depose_leader(world: World, lasts_s: float) -> None:
    """The leader's key goes away while the leader is well."""
    world.coordination.depose()


def drain_executor(world: World, lasts_s: float) -> None:
    """SIGTERM to an executor."""
    world.clockwork.rng.choice(world.executors).drain()


def leave_executor(world: World, lasts_s: float) -> None:
    """SIGTERM to an executor that is not started again. The first one, which can run anything, stays."""
    if len(world.executors) > 1:
        node = world.clockwork.rng.choice(world.executors[1:])
        node.leaving = True
        node.drain()


def join_executor(world: World, lasts_s: float) -> None:
    """One more executor."""
    world.join_executor()


def leave_judicator(world: World, lasts_s: float) -> None:
    """A judicator gives up its part and is gone for good; the last one stays."""
    node = world.clockwork.rng.choice(world.judicators)
    if len(world.judicators) > 1 and node.up and not node.paused:
        node.leave()


def join_judicator(world: World, lasts_s: float) -> None:
    """One more judicator, which leads when it is its turn."""
    world.join_judicator()


def restore_store(world: World, lasts_s: float) -> None:
    """A backup now; later all judicators are ended, and begin again on what it has. Executors work on."""
    backup = world.storage.memory.backup()
    world.clockwork.after(max(lasts_s, 2.5), _restore, world, backup)


def recover_store(world: World, lasts_s: float) -> None:
    """All judicators are ended, and one begins a new generation with all that there was."""
    _restore(world, world.storage.memory.backup())


def _restore(world: World, backup: MemoryBackup) -> None:
    if world.healed_at_s is not None:
        return
    world.happened("store restored")
    anew = world.clockwork.chance(0.4)  # etcd too, so that nobody waits for the old leader's lease to end
    for node in world.judicators:
        node.crash()
        if anew:
            world.coordination.withdraw(node.name)
        world.clockwork.after(world.clockwork.between(0.3, 2.0), node.boot)
    world.storage.restore(backup)


FAULTS: tuple[Fault, ...] = (
    crash_leader,
    crash_judicator,
    crash_executor,
    lose_executor,
    crash_everything,
    pause_leader,
    pause_executor,
    pause_briefly,
    crash_between_decide_and_save,
    pause_between_decide_and_save,
    crash_between_save_and_send,
    pause_between_save_and_send,
    crash_between_journal_and_send,
    partition,
    cut_executor_off,
    one_way_cut,
    lossy_network,
    doubling_network,
    slow_network,
    lagging_network,
    store_unknown,
    store_away,
    membership_gap,
    depose_leader,
    drain_executor,
    leave_executor,
    join_executor,
    leave_judicator,
    join_judicator,
    restore_store,
    recover_store,
)
