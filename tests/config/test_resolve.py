"""Settings: which source wins, what a value means on this host, and what a mistake is told."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from khala.config import ROLES, ExecutorConfig, GatewayConfig, JudicatorConfig, flags_of, resolve
from khala.config.host import cpu_count, host_name, memory_bytes
from khala.errors import ConfigurationError

JOIN = {"etcd_cluster_join_member_client": ("http://127.0.0.1:2001",)}


def judicator(
    environment: dict[str, str] | None = None, file: Path | None = None, **given: str
) -> JudicatorConfig:
    options = {name: (value,) for name, value in given.items()}
    config = resolve("judicator", options, environment or {}, file).config
    assert isinstance(config, JudicatorConfig)
    return config


def test_the_defaults_are_the_documented_ones() -> None:
    config = judicator()
    assert (config.retry_times, config.retry_interval, config.boot_check_interval) == (3, 5.0, 30.0)
    assert (config.etcd_listen_address, config.etcd_advertise_address) == ("0.0.0.0", "localhost")
    assert (config.etcd_listen_peer_port, config.etcd_listen_client_port) == (2000, 2001)
    assert (config.mongodb_listen_port, config.main_listen_port) == (3000, 4000)
    assert (config.mongodb_replica_set, config.etcd_cluster_service_port) == ("rs", 2001)
    assert config.main_name == config.etcd_name == config.mongodb_name == host_name()
    gateway = resolve("gateway", JOIN, {}).config
    assert isinstance(gateway, GatewayConfig)
    assert (gateway.uwsgi_host, gateway.uwsgi_port, gateway.uwsgi_processes) == ("0.0.0.0", 7000, 4)


def test_an_executor_offers_this_host() -> None:
    config = resolve("executor", JOIN, {}).config
    assert isinstance(config, ExecutorConfig)
    assert config.main_task_vacant == cpu_count()
    assert (config.cpus, config.memory) == (float(cpu_count()), memory_bytes())


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "khala.toml"
    file.write_text(
        "main-listen-port = 1\nmongodb_listen_port = 1\netcd-listen-peer-port = 1\n"
        "[judicator]\nmain_name = 'j'\n"
    )
    environment = {"KHALA_MAIN_LISTEN_PORT": "2", "KHALA_MONGODB_LISTEN_PORT": "2"}
    config = judicator(environment, file, main_listen_port="3")
    assert (config.main_listen_port, config.mongodb_listen_port, config.etcd_listen_peer_port) == (3, 2, 1)
    assert config.main_name == "j"


def test_a_roles_section_wins_over_the_top_and_others_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "khala.toml"
    file.write_text("main_name = 'top'\n[judicator]\nmain_name = 'own'\n[executor]\nmain_name = 'other'\n")
    assert judicator({"KHALA_CONFIG": str(file)}).main_name == "own"


def test_labels_from_every_source(tmp_path: Path) -> None:
    file = tmp_path / "khala.toml"
    file.write_text("[executor]\nlabel = {zone = 'a', gpu = 'no'}\n")
    wanted = {"zone": "a", "gpu": "no"}
    for config in (
        resolve("executor", {**JOIN, "label": ("zone=a", "gpu=no")}, {}).config,
        resolve("executor", JOIN, {"KHALA_LABEL": "zone=a,gpu=no"}).config,
        resolve("executor", JOIN, {}, file).config,
    ):
        assert isinstance(config, ExecutorConfig)
        assert config.label == wanted


def test_the_advertised_port_follows_the_listen_port() -> None:
    config = judicator(main_listen_port="4444", etcd_advertise_client_port="9")
    assert (config.main_advertise_port, config.etcd_advertise_client_port) == (4444, 9)
    assert config.etcd_advertise_peer_port == config.etcd_listen_peer_port


def test_a_name_from_the_environment() -> None:
    config = judicator({"NAME": "judicator-3"}, main_name="ENV", mongodb_name="ENV")
    assert (config.main_name, config.mongodb_name, config.etcd_name) == ("judicator-3",) * 3


def test_an_interfaces_name_in_capitals_is_its_address() -> None:
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    assert judicator(main_listen_address=loopback.upper()).main_listen_address == "127.0.0.1"
    assert judicator(main_listen_address="localhost").main_listen_address == "localhost"


def test_the_secret_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hush\n")
    file.chmod(0o600)
    resolved = resolve("judicator", {"secret_file": (str(file),)}, {"KHALA_SECRET": "weaker"})
    assert (resolved.config.secret, resolved.config.auth, resolved.warnings) == ("hush", "token", ())
    file.chmod(0o644)
    (warning,) = resolve("judicator", {"secret_file": (str(file),)}, {}).warnings
    assert "chmod 600" in warning
    assert judicator({"KHALA_SECRET_FILE": str(file)}, secret="stronger").secret == "stronger"


def test_a_secret_is_never_shown() -> None:
    assert "hush" not in repr(judicator({"KHALA_SECRET": "hush"}))


def test_without_a_secret_the_cluster_is_open() -> None:
    assert judicator().auth == "none"
    assert judicator(secret="s", auth="none").auth == "none"


def test_a_flag_without_meaning_is_accepted_with_a_warning() -> None:
    resolved = resolve("gateway", {**JOIN, "uwsgi_threads": ("2",), "etcd_name": ("x",)}, {})
    assert len(resolved.warnings) == 2
    assert any(warning.startswith("--uwsgi-threads has no effect") for warning in resolved.warnings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"main_listen_port": "0"}, "--main-listen-port: '0' is not a port"),
        ({"main_listen_port": "65536"}, "--main-listen-port"),
        ({"main_advertise_port": "docker"}, "--main-advertise-port"),
        ({"main_name": "a b"}, "--main-name: 'a b' is not a name"),
        ({"main_name": "../x"}, "--main-name"),
        ({"main_name": "ENV"}, "--main-name: ENV takes the name from .NAME"),
        ({"main_listen_address": "WLAN77"}, "--main-listen-address: there is no network interface WLAN77"),
        ({"main_listen_address": ""}, "--main-listen-address"),
        ({"retry_interval": "soon"}, "--retry-interval: 'soon' is not a number"),
        ({"retry_interval": "nan"}, "--retry-interval"),
        ({"retry_interval": "0"}, "--retry-interval: must be more than 0"),
        ({"boot_print_log": "perhaps"}, "--boot-print-log: 'perhaps' is not true or false"),
        ({"auth": "maybe"}, "--auth: 'maybe' is not one of token, none"),
        ({"etcd_cluster_join_member_client": "judicator"}, "is not a URL"),
        ({"main_first_token_digest": "abc"}, "--main-first-token-digest"),
        ({"secret_file": "/no/such"}, "--secret-file: cannot read the secret"),
    ],
)
def test_a_mistake_names_the_flag(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        judicator(**given)


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match="KHALA_MAIN_LISTEN_PORT: 'x'"):
        judicator({"KHALA_MAIN_LISTEN_PORT": "x"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("main_lisen_port = 1", "did you mean 'main_listen_port'"),
        ("[judicator]\nuwsgi_port = 1", "there is no setting 'uwsgi_port'"),
        ("main_name = ", "is not valid TOML"),
        ("main_listen_port = 2000-01-01", "a date cannot be a setting"),
        ("judicator = 1", "must be a section"),
    ],
)
def test_a_mistake_in_the_file_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "khala.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said) as told:
        judicator(file=file)
    assert str(file) in str(told.value)


def test_a_role_without_a_cluster_is_told_how_to_find_one() -> None:
    for role in ("executor", "gateway"):
        with pytest.raises(ConfigurationError, match="--etcd-cluster-join-member-client"):
            resolve(role, {}, {})


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 << 20), ("1.5G", 3 << 29), ("8GiB", 8 << 30), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    config = resolve("executor", {**JOIN, "memory": (text,)}, {}).config
    assert isinstance(config, ExecutorConfig)
    assert config.memory == size


def test_docker_without_its_socket_is_told(tmp_path: Path) -> None:
    pytest.importorskip("docker", reason="Docker's library is not installed: pip install 'khala[docker]'")
    nowhere = f"unix://{tmp_path}/docker.sock"
    with pytest.raises(
        ConfigurationError, match=r"--main-advertise-port: DOCKER: cannot ask .*--docker-sock"
    ):
        judicator(docker_sock=nowhere, main_advertise_port="DOCKER")


def test_every_flag_of_the_documentation_exists() -> None:
    documented = (Path(__file__).resolve().parents[2] / "docs" / "arguments.md").read_text()
    for role, kind in ROLES.items():
        for flag in flags_of(kind):
            assert f"`{flag.option}`" in documented, f"docs/arguments.md does not name {flag.option} ({role})"
    named = set(re.findall(r"`--([a-z-]+)`", documented))
    known = {flag.field.replace("_", "-") for kind in ROLES.values() for flag in flags_of(kind)} | {"config"}
    assert named <= known, f"docs/arguments.md names flags that do not exist: {sorted(named - known)}"


def test_the_environment_of_this_process_is_not_read() -> None:
    os.environ["KHALA_MAIN_NAME"] = "leak"
    try:
        assert judicator().main_name == host_name()
    finally:
        del os.environ["KHALA_MAIN_NAME"]
