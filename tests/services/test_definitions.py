"""Command lines, files and the marks of data folders; no server runs here."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from khala.errors import ConfigurationError
from khala.services.definition import clean_environment
from khala.services.etcd import EtcdServer
from khala.services.executables import Executable
from khala.services.mongod import MongodServer, key_file_content

ETCD = Executable(path=Path("/usr/bin/etcd"), version=(3, 4, 23), origin="path")
MONGOD = Executable(path=Path("/usr/bin/mongod"), version=(6, 0, 5), origin="path")


def etcd(directory: Path, **settings: object) -> EtcdServer:
    return EtcdServer(**{"executable": ETCD, "directory": directory, "name": "e1", **settings})  # type: ignore[arg-type]


def mongod(directory: Path, **settings: object) -> MongodServer:
    return MongodServer(**{"executable": MONGOD, "directory": directory, **settings})  # type: ignore[arg-type]


def test_new_etcd_cluster_names_every_member(tmp_path: Path) -> None:
    argv = etcd(tmp_path, advertise_address="h1", initial_cluster={"e2": "http://h2:2000"}).argv()
    assert "--initial-cluster=e1=http://h1:2000,e2=http://h2:2000" in argv
    assert "--initial-cluster-state=new" in argv
    assert "--listen-client-urls=http://0.0.0.0:2001" in argv
    assert not [option for option in argv if "corrupt" in option]


def test_published_ports_are_advertised_and_own_ones_listened_on(tmp_path: Path) -> None:
    argv = etcd(tmp_path, advertise_peer_port=32000, advertise_client_port=32001, joining=True).argv()
    assert "--advertise-client-urls=http://localhost:32001" in argv
    assert "--initial-advertise-peer-urls=http://localhost:32000" in argv
    assert "--listen-peer-urls=http://0.0.0.0:2000" in argv
    assert "--initial-cluster-state=existing" in argv


def test_discovery_replaces_the_list_of_members(tmp_path: Path) -> None:
    argv = etcd(tmp_path, discovery="https://discovery.etcd.io/x").argv()
    assert "--discovery=https://discovery.etcd.io/x" in argv
    assert not [option for option in argv if option.startswith("--initial-cluster=")]


def test_releases_that_corrupt_run_with_the_check(tmp_path: Path) -> None:
    argv = etcd(tmp_path, executable=replace(ETCD, version=(3, 5, 1))).argv()
    assert "--experimental-initial-corrupt-check=true" in argv


def test_listen_address_may_be_a_known_name_only(tmp_path: Path) -> None:
    assert "--listen-peer-urls=http://127.0.0.1:2000" in etcd(tmp_path, listen_address="localhost").argv()
    with pytest.raises(ConfigurationError, match="--etcd-listen-address: 'no"):
        etcd(tmp_path, listen_address="no.such.invalid").argv()


def test_mongod_with_a_secret_has_a_private_key_file(tmp_path: Path) -> None:
    server = mongod(tmp_path, secret=b"s" * 32)
    server.prepare()
    key_file = server.files().key_file
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert 6 <= len(key_file.read_text().strip()) <= 1024
    assert f"--keyFile={key_file}" in server.argv()
    assert key_file_content(b"s" * 32) != key_file_content(b"t" * 32)
    assert "ssss" not in repr(server) + " ".join(server.argv())


def test_open_mongod_has_no_key_file(tmp_path: Path) -> None:
    mongod(tmp_path, secret=b"s" * 32).prepare()
    mongod(tmp_path).prepare()
    assert not mongod(tmp_path).files().key_file.exists()
    assert not [option for option in mongod(tmp_path).argv() if "keyFile" in option]


def test_cache_is_within_its_bounds(tmp_path: Path) -> None:
    assert "--wiredTigerCacheSizeGB=0.250" in mongod(tmp_path, cache_bytes=1).argv()
    assert "--wiredTigerCacheSizeGB=2.000" in mongod(tmp_path, cache_bytes=2 << 30).argv()
    (size,) = (o.partition("=")[2] for o in mongod(tmp_path).argv() if "CacheSize" in o)
    assert 0.25 <= float(size) <= 1.0


def test_data_of_another_cluster_version_or_server_is_refused(tmp_path: Path) -> None:
    etcd(tmp_path).prepare()
    etcd(tmp_path).prepare()
    with pytest.raises(ConfigurationError, match="cluster khala, not other"):
        etcd(tmp_path, cluster="other").prepare()
    with pytest.raises(ConfigurationError, match="server etcd, not mongod"):
        mongod(tmp_path).prepare()


def test_data_of_a_later_etcd_is_refused_and_of_the_one_before_taken_over(tmp_path: Path) -> None:
    etcd(tmp_path).prepare()
    etcd(tmp_path, executable=replace(ETCD, version=(3, 5, 9))).prepare()
    with pytest.raises(ConfigurationError, match=r"version 3\.5, not 3\.4"):
        etcd(tmp_path).prepare()


def test_data_of_another_mongod_is_refused(tmp_path: Path) -> None:
    mongod(tmp_path).prepare()
    with pytest.raises(ConfigurationError, match=r"version 6\.0, not 7\.0"):
        mongod(tmp_path, executable=replace(MONGOD, version=(7, 0, 1))).prepare()


def test_data_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mongod.lock").touch()
    with pytest.raises(ConfigurationError, match="not written by Khala"):
        mongod(tmp_path).prepare()


def test_mark_that_is_no_mark_is_refused(tmp_path: Path) -> None:
    etcd(tmp_path).prepare()
    (tmp_path / "origin.json").write_text('{"server": ')
    with pytest.raises(ConfigurationError, match="unreadable"):
        etcd(tmp_path).prepare()


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        etcd(tmp_path / "file" / "etcd").prepare()


def test_full_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MiB are needed"):
        etcd(tmp_path, min_free_bytes=1 << 60).prepare()


def test_old_data_is_set_aside_whole(tmp_path: Path) -> None:
    server = etcd(tmp_path / "etcd")
    server.prepare()
    (server.files().data / "kept").write_text("old")
    first = server.files().set_aside()
    server.prepare()
    second = server.files().set_aside()
    assert first and second and first != second
    assert (first / "data" / "kept").read_text() == "old"
    assert server.files().set_aside() is None


def test_servers_get_no_secret_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KHALA_SECRET", "s")
    monkeypatch.setenv("ETCD_NAME", "other")
    assert not {"KHALA_SECRET", "ETCD_NAME"} & set(clean_environment())
