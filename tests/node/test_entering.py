"""What a judicator knows before it starts its servers: the others' addresses, and how it came in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from services.processes import free_ports

from khala.config import JudicatorConfig
from khala.coordination.interface import ClusterView, Registration
from khala.errors import ConfigurationError
from khala.node.entering import Entering, Way
from khala.node.joining import etcd_endpoints, require_endpoints
from khala.node.judicator import own_registration
from khala.node.known_judicators import KnownJudicators
from khala.node.lifetime import Lifetime, Stopped
from khala.node.native import etcd_server, mongod_server


def settings(folder: Path, **given: Any) -> JudicatorConfig:
    return JudicatorConfig(main_name="j1", etcd_name="j1", data_dir=folder, **given)


def view(**etcd_clients: str) -> ClusterView:
    entries = {name: Registration(address="h:1", etcd_client=url) for name, url in etcd_clients.items()}
    return ClusterView(registered=entries, connected=True)


def entering(config: JudicatorConfig) -> Entering:
    return Entering(config, KnownJudicators(config.data_dir, "j1"), Lifetime("judicator"))


def test_the_others_and_a_departure_are_remembered(tmp_path: Path) -> None:
    known = KnownJudicators(tmp_path, "j1")
    known.note(view(j1="http://a:1", j2="http://b:1", j3="http://c:1"))
    known.note(ClusterView())
    again = KnownJudicators(tmp_path, "j1")
    assert (again.etcd_clients(), again.left) == (("http://b:1", "http://c:1"), False)
    again.note_left(left=True)
    again.note(view(j1="http://a:1"))
    last = KnownJudicators(tmp_path, "j1")
    assert (last.etcd_clients(), last.left) == (("http://b:1", "http://c:1"), True)


def test_one_that_is_leaving_is_no_way_in(tmp_path: Path) -> None:
    known = KnownJudicators(tmp_path, "j1")
    seen = view(j1="http://a:1", j2="http://b:1", j3="http://c:1")
    leaving = replace(seen.registered["j2"], leaving=True)
    known.note(replace(seen, registered={**seen.registered, "j2": leaving}))
    assert known.etcd_clients() == ("http://c:1",)


def test_a_damaged_memory_is_told(tmp_path: Path) -> None:
    (tmp_path / "judicators.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="move it aside"):
        KnownJudicators(tmp_path, "j1")


def test_endpoints_are_the_services_or_those_to_join(tmp_path: Path) -> None:
    join = settings(tmp_path, etcd_cluster_join_member_client="http://a:2001, http://b:2001")
    assert etcd_endpoints(join) == ["http://a:2001", "http://b:2001"]
    service = replace(join, etcd_cluster_service="localhost", etcd_cluster_service_port=77)
    assert "http://127.0.0.1:77" in etcd_endpoints(service)
    nowhere = replace(join, etcd_cluster_service="no.such.name.invalid", retry_times=0, retry_interval=0.01)
    assert etcd_endpoints(nowhere) == []
    with pytest.raises(ConfigurationError, match="--etcd-cluster-service"):
        require_endpoints(nowhere)


def test_a_new_judicator_founds_its_own_cluster_or_that_of_a_list(tmp_path: Path) -> None:
    for given in ({"etcd_cluster_init_independent": True}, {}):
        config = settings(tmp_path, **given)
        entrance = entering(config).choose(etcd_server(config), mongod_server(config).files())
        assert (entrance.way, entrance.etcd.initial_cluster) == (Way.FOUND, {})
    listed = settings(
        tmp_path, etcd_cluster_init_member="j1=http://localhost:2000,j2=http://b:2000,j3=http://c:2000/"
    )
    entrance = entering(listed).choose(etcd_server(listed), mongod_server(listed).files())
    assert entrance.way is Way.FOUND
    assert entrance.etcd.initial_cluster == {"j2": "http://b:2000", "j3": "http://c:2000"}


def test_of_a_list_only_the_first_keeps_what_its_mongod_has(tmp_path: Path) -> None:
    listed = "j1=http://localhost:2000,j2=http://b:2000"
    for name, place in (("j1", tmp_path / "1"), ("j2", tmp_path / "2")):
        config = replace(
            settings(
                place, etcd_cluster_init_member=listed.replace("http://b:2000", "http://localhost:2000")
            ),
            main_name=name,
            etcd_name=name,
        )
        mongod = mongod_server(config).files()
        (mongod.data / "journal").mkdir(parents=True)
        entering(config).choose(etcd_server(config), mongod)
        assert bool(list(place.glob("mongodb.aside-*"))) == (name == "j2")


@pytest.mark.parametrize(
    ("given", "why"),
    [("j2=http://b:2000", "does not name"), ("j1", "is not NAME"), ("j1=http://x:1", "as j1=")],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, given: str, why: str) -> None:
    config = settings(tmp_path, etcd_cluster_init_member=given)
    with pytest.raises(ConfigurationError, match=why):
        entering(config).choose(etcd_server(config), mongod_server(config).files())


def test_one_with_data_returns_and_does_not_wait_for_others_who_are_away(tmp_path: Path) -> None:
    config = settings(tmp_path, etcd_cluster_join_member_client=f"http://127.0.0.1:{free_ports(1)[0]}")
    etcd, mongod = etcd_server(config), mongod_server(config).files()
    (etcd.files().data / "member").mkdir(parents=True)
    assert entering(config).choose(etcd, mongod).way is Way.RETURN


def test_one_that_left_sets_its_data_aside_and_never_founds_again(tmp_path: Path) -> None:
    config = settings(tmp_path, etcd_cluster_init_independent=True)
    known = KnownJudicators(tmp_path, "j1")
    known.note(view(j1="http://a:1", j2=f"http://127.0.0.1:{free_ports(1)[0]}"))
    known.note_left(left=True)
    etcd, mongod = etcd_server(config), mongod_server(config).files()
    (etcd.files().data / "member").mkdir(parents=True)
    (mongod.data / "journal").mkdir(parents=True)

    class Brief(Lifetime):
        def insist(self, what: str, attempt: Any) -> Any:
            if what == "for the cluster to join":
                raise Stopped
            return super().insist(what, attempt)

    with pytest.raises(Stopped):
        Entering(config, KnownJudicators(tmp_path, "j1"), Brief("judicator")).choose(etcd, mongod)
    assert sorted(path.name.partition(".")[0] for path in tmp_path.glob("*.aside-*")) == ["etcd", "mongodb"]


def test_the_register_says_what_is_advertised(tmp_path: Path) -> None:
    config = settings(
        tmp_path, etcd_advertise_address="::1", mongodb_advertise_port=33, main_advertise_address="h"
    )
    assert own_registration(config) == Registration(
        address="h:4000", mongod="localhost:33", etcd="j1", etcd_client="http://[::1]:2001"
    )
