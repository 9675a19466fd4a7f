"""P17: with a secret nothing in etcd is readable or writable without it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from coordination.worlds import CALL_S, EtcdWorld, Seen, a_member
from wait import wait_until

from khala.coordination.etcd import EtcdCoordination
from khala.coordination.etcd_auth import secure
from khala.coordination.etcd_client import EtcdClient, connect
from khala.coordination.etcd_members import EtcdMembers
from khala.coordination.etcd_settings import KHALA, EtcdSettings, address_of, password_of
from khala.errors import ConfigurationError, Unavailable

SECRET = b"the secret of this cluster......"
OTHER = b"the secret of another cluster..."


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdWorld]:
    """An etcd that three judicators secured at the same time."""
    world = EtcdWorld(tmp_path_factory.mktemp("closed"), secret=SECRET)
    failures: list[BaseException] = []

    def one() -> None:
        try:
            secure(world.endpoint, SECRET)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    yield world
    world.close()


def test_nodes_with_the_secret_work(closed: EtcdWorld) -> None:
    node, other = closed.node(), closed.node()
    node.start(a_member("j1"), Seen())
    other.start(a_member("x1", "executor"), Seen())
    node.campaign()
    wait_until(lambda: other.view().leader == "j1")
    assert other.shared("cluster", "c1") == "c1"
    other.close()
    wait_until(lambda: len(node.view().members) == 1, what="a change")
    node.close()


def test_securing_again_changes_nothing(closed: EtcdWorld) -> None:
    node, seen = closed.node(), Seen()
    node.start(a_member("j1"), seen)
    wait_until(lambda: node.view().connected)
    secure(closed.endpoint, SECRET)
    assert node.shared("again", "1") == "1"
    assert all(view.connected for view in seen.views)
    node.close()


def test_without_a_password_nothing_is_readable(closed: EtcdWorld) -> None:
    client = EtcdClient(address_of(closed.endpoint), secret=None, timeout_s=CALL_S)
    for call in (
        lambda: client.read_below("/khala/"),
        lambda: client.put({"/khala/leader": "me"}),
        lambda: client.delete("/khala/leader"),
    ):
        with pytest.raises(ConfigurationError, match="this cluster has a secret: give it by"):
            call()
    client.close()
    with pytest.raises(ConfigurationError, match="this cluster has a secret"):
        closed.node(secret=None).start(a_member("j1"), Seen())


def test_wrong_secret_is_refused(closed: EtcdWorld) -> None:
    with pytest.raises(ConfigurationError, match="the cluster secret does not fit"):
        closed.node(secret=OTHER).start(a_member("j1"), Seen())
    with pytest.raises(ConfigurationError, match="the cluster secret does not fit"):
        secure(closed.endpoint, OTHER)
    with pytest.raises(ConfigurationError, match="the cluster secret does not fit"):
        EtcdMembers(lambda: [closed.endpoint], secret=OTHER).add("e2", "http://127.0.0.1:9")
    secure(closed.endpoint, SECRET)


def test_khala_reaches_only_its_own_keys(closed: EtcdWorld) -> None:
    client = EtcdClient(address_of(closed.endpoint), secret=SECRET, timeout_s=CALL_S)
    with pytest.raises(ConfigurationError, match="permission denied"):
        client.put({"/other": "x"})
    client.close()
    raw = connect(
        address_of(closed.endpoint), timeout_s=CALL_S, user=KHALA, password=password_of(KHALA, SECRET)
    )
    with pytest.raises(Exception, match="permission denied"):
        raw.add_member(["http://127.0.0.1:9"])
    raw.close()


def test_root_administers_members(closed: EtcdWorld) -> None:
    assert [member.name for member in EtcdMembers(lambda: [closed.endpoint], secret=SECRET).all()] == ["e1"]


def test_tokens_lost_by_a_restart_are_renewed(closed: EtcdWorld) -> None:
    node = closed.node()
    node.start(a_member("j1"), Seen())
    node.campaign()
    wait_until(lambda: node.leads_until() > closed.now())
    closed.kill()
    wait_until(lambda: node.view().connected)
    wait_until(lambda: node.leads_until() > closed.now())
    assert node.shared("after", "1") == "1"
    node.close()


def test_node_waits_for_a_cluster_that_is_still_open(own_etcd: EtcdWorld, tmp_path: Path) -> None:
    impatient = EtcdSettings(endpoints=[own_etcd.endpoint], secret=SECRET, start_timeout_s=4.0)
    with pytest.raises(Unavailable, match="authentication is not enabled"):
        EtcdCoordination(impatient).start(a_member("x1", "executor"), Seen())
    secure(own_etcd.endpoint, SECRET)
    node = EtcdCoordination(replace(impatient, start_timeout_s=60.0, call_timeout_s=CALL_S))
    node.start(a_member("x1", "executor"), Seen())
    node.close()


def test_passwords_differ_by_user_and_secret() -> None:
    assert len({password_of(user, secret) for user in ("root", KHALA) for secret in (SECRET, OTHER)}) == 4
    assert "secret" not in repr(EtcdSettings(endpoints=["h:1"], secret=SECRET))
