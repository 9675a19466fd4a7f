"""Every route, as every role, upon one's own task and another's; sessions, and guessing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from actors.world import World
from gateway.conftest import Gateway, Stage, problem, running
from gateway.real_cluster import RealCluster
from wait import wait_until

from khala.errors import Refusal
from khala.gateway import guessing
from khala.gateway.guessing import Guesses

ROLES = ("root", "ann", "eve", "nobody", "stranger")
"""An administrator, the task's owner, a viewer, no token, a token that is not known."""
ABSENT = "f" * 24
TASK = {"execute": {"command": "sleep 600"}}
JOB = {"task": TASK, "array": {"range": {"stop": 2}}}
JSON = {"content-type": "application/json"}


class Site:
    """A gateway before real actors, and ann's and bob's task."""

    def __init__(self, gateway: Gateway, cluster: RealCluster) -> None:
        self.gateway, self.cluster = gateway, cluster
        self.tasks = {
            who: self.ask(who, "POST", "/api/v1/tasks", json=TASK).json()["id"] for who in ("ann", "bob")
        }

    def new_task(self, *, finished: bool) -> str:
        """A task of ann's."""
        id = str(self.ask("ann", "POST", "/api/v1/tasks", json=TASK).json()["id"])
        if finished:
            assert self.ask("ann", "POST", f"/api/v1/tasks/{id}/cancel").status_code == 202
            assert self.ask("ann", "GET", f"/api/v1/tasks/{id}?wait=60").json()["state"] == "cancelled"
        return id

    def ask(self, who: str, method: str, path: str, **given: object) -> httpx.Response:
        headers = dict(given.pop("headers", {}))  # type: ignore[call-overload]
        if who != "nobody":
            headers["authorization"] = f"Bearer {who}"
        return self.gateway.http.request(method, path, headers=headers, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, many_apps_in_a_process: None) -> Iterator[Site]:
    world = World(Path(tmp_path_factory.mktemp("world")))
    try:
        cluster = RealCluster(world)
        with running(Stage(cluster), auth="token", wrong_tokens_at_once=100_000) as gateway:
            yield Site(gateway, cluster)
    finally:
        world.close()


# Route → what an administrator, its owner, a viewer and the owner of another task get; the body.
OWN = "/api/v1/tasks/{task}"
MATRIX: dict[tuple[str, str], tuple[tuple[int, int, int, int], object]] = {
    ("GET", OWN): ((200, 200, 200, 404), None),
    ("POST", f"{OWN}/cancel"): ((202, 202, 403, 404), None),
    ("GET", f"{OWN}/logs/execute/stdout"): ((200, 200, 200, 404), None),
    ("GET", f"{OWN}/events"): ((200, 200, 200, 404), None),
    ("GET", f"{OWN}/explain"): ((200, 200, 200, 404), None),
    ("GET", f"{OWN}/outputs"): ((200, 200, 200, 404), None),
    ("GET", f"{OWN}/outputs/file"): ((404, 404, 404, 404), None),
    ("GET", f"{OWN}/outputs.zip"): ((404, 404, 404, 404), None),
    ("DELETE", "/api/v1/judicators/none"): ((404, 403, 403, 403), None),
    ("PATCH", OWN): ((200, 200, 403, 404), {"priority": 1}),
    ("DELETE", OWN): ((200, 200, 403, 404), None),
    ("POST", f"{OWN}/retry"): ((201, 201, 403, 404), None),
    ("GET", f"{OWN}/attempts"): ((200, 200, 200, 404), None),
    ("POST", "/api/v1/executors/none/drain"): ((404, 403, 403, 403), None),
    ("POST", "/api/v1/executors/none/undrain"): ((404, 403, 403, 403), None),
    ("GET", "/metrics"): ((200, 403, 200, 403), None),
    ("GET", "/api/task?id={task}"): ((200, 200, 200, 404), None),
    ("GET", "/api/task?id={task}&file=execute_command"): ((200, 200, 200, 404), None),
    ("DELETE", "/api/task?id={task}"): ((200, 200, 403, 404), None),
    ("GET", "/api/v1/tasks"): ((200, 200, 200, 200), None),
    ("POST", "/api/v1/tasks"): ((201, 201, 403, 201), TASK),
    ("POST", "/api/v1/tasks/batch"): ((200, 200, 403, 200), {"tasks": [TASK]}),
    ("GET", "/api/v1/jobs"): ((200, 200, 200, 200), None),
    ("POST", "/api/v1/jobs"): ((201, 201, 403, 201), JOB),
    ("GET", "/api/v1/jobs/{job}"): ((200, 200, 200, 404), None),
    ("GET", "/api/v1/jobs/{job}/results.csv"): ((200, 200, 200, 404), None),
    ("GET", "/api/v1/jobs/{job}/results.ndjson"): ((200, 200, 200, 404), None),
    ("POST", "/api/v1/jobs/{job}/retry"): ((409, 409, 403, 404), None),
    ("POST", "/api/v1/jobs/{job}/cancel"): ((202, 202, 403, 404), None),
    ("GET", "/api/v1/stats"): ((200, 200, 200, 200), None),
    ("GET", "/api/v1/executors"): ((200, 200, 200, 200), None),
    ("GET", "/api/v1/executors/none"): ((404, 404, 404, 404), None),
    ("GET", "/api/v1/judicators"): ((200, 200, 200, 200), None),
    ("GET", "/api/v1/cluster"): ((200, 200, 200, 200), None),
    ("GET", "/api/v1/openapi.json"): ((200, 200, 200, 200), None),
    ("POST", "/api/v1/files"): ((201, 201, 403, 201), b"content"),
    ("GET", f"/api/v1/files/{'0' * 64}"): ((404, 404, 404, 404), None),
    ("GET", "/api/v1/me"): ((200, 200, 200, 200), None),
    ("GET", "/api/v1/tokens"): ((200, 200, 200, 200), None),
    ("GET", "/api/v1/tokens?user=ann"): ((200, 200, 403, 403), None),
    ("POST", "/api/v1/tokens"): ((201, 201, 201, 201), {"name": "another"}),
    ("DELETE", "/api/v1/tokens/0000000000000000"): ((404, 404, 404, 404), None),
    ("GET", "/api/v1/users"): ((200, 403, 403, 403), None),
    ("POST", "/api/v1/users"): ((201, 403, 403, 403), {"name": "new", "role": "user"}),
    ("GET", "/api/v1/users/new"): ((200, 403, 403, 403), None),
    ("PUT", "/api/v1/users/new"): ((200, 403, 403, 403), {"role": "viewer"}),
    ("DELETE", "/api/v1/users/new"): ((200, 403, 403, 403), None),
    ("GET", "/api/v1/quotas"): ((200, 200, 200, 200), None),
    ("PUT", "/api/v1/quotas/eve"): ((200, 403, 403, 403), {"queued": 3}),
    ("GET", "/api/v1/audit"): ((200, 403, 403, 403), None),
    ("POST", "/api/v1/logout"): ((200, 200, 200, 200), None),
    ("GET", "/api/test"): ((200, 200, 200, 200), None),
    ("GET", "/api/task/list"): ((200, 200, 200, 200), None),
    ("POST", "/api/task"): ((200, 200, 403, 200), {"user": "1", "execute_command": "true"}),
    ("GET", "/api/executors"): ((200, 200, 200, 200), None),
    ("GET", "/api/judicators"): ((200, 200, 200, 200), None),
}  # fmt: skip
# It never ends by itself: test_watching.py asks for it.
ENDLESS = {("GET", "/api/v1/events")}
PUBLIC = {"/docs", "/healthz", "/readyz", "/version", "/api/v1/login"}


def send(site: Site, who: str, method: str, path: str, body: object) -> httpx.Response:
    address = path.replace("{task}", site.tasks["ann"])
    if "{job}" in path:
        address = path.replace("{job}", site.ask("ann", "POST", "/api/v1/jobs", json=JOB).json()["id"])
    if isinstance(body, bytes):
        return site.ask(
            who, method, address, content=body, headers={"content-type": "application/octet-stream"}
        )
    if path == "/api/task" and method == "POST":
        return site.ask(who, method, address, data=body)
    return site.ask(who, method, address, **({} if body is None else {"json": body}))


def standing(answer: httpx.Response) -> int:
    """The status; KV2 tells of what is not there by its result."""
    if answer.status_code == 200 and answer.headers["content-type"] == "application/json":
        return 404 if answer.json().get("result") == 2 and "list" not in answer.url.path else 200
    return answer.status_code


@pytest.mark.parametrize("route", MATRIX, ids=" ".join)
def test_the_matrix(site: Site, route: tuple[str, str]) -> None:
    expected, body = MATRIX[route]
    finished = route in (("DELETE", OWN), ("POST", f"{OWN}/retry"))
    for who, status in zip(("eve", "bob", "ann", "root"), reversed_to(expected), strict=True):
        if "{task}" in route[1]:
            site.tasks["ann"] = site.new_task(finished=finished)
        answer = send(site, who, *route, body)
        assert standing(answer) == status, (who, answer.text)
        if answer.status_code in (403, 404) and route[1].startswith("/api/v1"):
            assert answer.headers["content-type"] == "application/problem+json"
    for who in ("nobody", "stranger"):
        answer = send(site, who, *route, body)
        if route[1] not in ("/api/test", "/api/v1/openapi.json") or who == "nobody":
            assert answer.status_code == 401, (who, answer.text)


def reversed_to(expected: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """From (admin, owner, viewer, other) to (viewer, other, owner, admin): what is taken away goes last."""
    admin, owner, viewer, other = expected
    return viewer, other, owner, admin


def test_the_matrix_has_every_route(site: Site) -> None:
    document = site.ask("root", "GET", "/api/v1/openapi.json").json()
    routes = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    known = {(method, generic(path)) for method, path in MATRIX}
    assert {route for route in routes if route[1] not in PUBLIC} == known | ENDLESS


def generic(path: str) -> str:
    plain = path.partition("?")[0].replace("{task}", "{id}").replace("{job}", "{id}")
    for part, name in (
        ("executors/none", "executors/{id}"), ("0" * 64, "{sha256}"), ("0" * 16, "{id}"),
        ("logs/execute/stdout", "logs/{phase}/{stream}"),
        ("outputs/file", "outputs/{path}"), ("judicators/none", "judicators/{name}"),
        ("users/new", "users/{name}"), ("quotas/eve", "quotas/{name}"),
    ):  # fmt: skip
        plain = plain.replace(part, name)
    return plain


def test_lists_and_counts_are_ones_own(site: Site) -> None:
    for who, others in (("ann", False), ("eve", True), ("root", True)):
        tasks = site.ask(who, "GET", "/api/v1/tasks?page_size=1000").json()["tasks"]
        assert ({"bob"} <= {task["owner"] for task in tasks}) == others
        assert site.ask(who, "GET", "/api/v1/stats").json()["total"] >= len(tasks)
        briefs = site.ask(who, "GET", "/api/task/list").json()["tasks"]
        assert (site.tasks["bob"] in {brief["id"] for brief in briefs}) == others


def test_a_token_is_shown_once_works_is_listed_and_ends(site: Site) -> None:
    made = site.ask("ann", "POST", "/api/v1/tokens", json={"name": "ci", "expires_in": 3600}).json()
    assert made["token"].startswith("khala_") and made["expires_at"] > made["created_at"]
    me = site.ask(made["token"], "GET", "/api/v1/me").json()
    assert (me["name"], me["role"], me["token"]["id"]) == ("ann", "user", made["id"])
    listed = site.ask("ann", "GET", "/api/v1/tokens")
    assert made["id"] in {token["id"] for token in listed.json()["tokens"]}
    assert made["token"] not in listed.text
    assert made["token"] not in str(site.cluster.world.store._people.__dict__)
    assert site.ask("bob", "DELETE", f"/api/v1/tokens/{made['id']}").status_code == 404
    assert site.ask("ann", "DELETE", f"/api/v1/tokens/{made['id']}").status_code == 200
    wait_until(lambda: site.ask(made["token"], "GET", "/api/v1/me").status_code == 401, what="its end")


def test_an_administrator_gives_tokens_to_others(site: Site) -> None:
    made = site.ask("root", "POST", "/api/v1/tokens", json={"name": "key", "user": "eve"}).json()
    assert site.ask(made["token"], "GET", "/api/v1/me").json()["role"] == "viewer"
    body = {"name": "key", "user": "nobody"}
    problem(site.ask("root", "POST", "/api/v1/tokens", json=body), 404, "not_found")
    problem(site.ask("ann", "POST", "/api/v1/tokens", json=body), 403, "forbidden")


def test_a_quota_is_enforced_and_shown(site: Site) -> None:
    site.cluster.world.store.put_user("bob", "", None, 0.0)
    answer = site.ask("root", "PUT", "/api/v1/quotas/bob", json={"queued": 0})
    assert answer.json()["quota"] == {"queued": 0, "running": None, "stored_bytes": None}

    def refused() -> bool:
        answer = site.ask("bob", "POST", "/api/v1/tasks", json=TASK)
        return answer.status_code == 429 and "retry-after" in answer.headers

    wait_until(refused, what="the quota to count")
    (mine,) = site.ask("bob", "GET", "/api/v1/quotas").json()["quotas"]
    assert mine["user"] == "bob" and mine["usage"]["queued"] >= 1
    site.ask("root", "PUT", "/api/v1/quotas/bob", json={})


def test_the_record_shows_what_was_done(site: Site) -> None:
    site.ask("root", "POST", "/api/v1/users", json={"name": "zoe", "role": "user"})

    def actions() -> set[tuple[str, str, str]]:
        entries = site.ask("root", "GET", "/api/v1/audit?page_size=50").json()["entries"]
        return {(entry["user"], entry["action"], entry["target"]) for entry in entries}

    wait_until(lambda: ("root", "users.put", "zoe") in actions(), what="the record")
    assert site.ask("root", "POST", "/api/v1/users", json={"name": "zoe", "role": "user"}).status_code == 201
    body = {"name": "zoe", "role": "admin"}
    problem(site.ask("root", "POST", "/api/v1/users", json=body), 409, "conflict")
    problem(site.ask("root", "DELETE", "/api/v1/users/root"), 409, "conflict")


# --- web sessions ---------------------------------------------------------------------------------


def login(site: Site, token: str, **headers: str) -> httpx.Response:
    return site.gateway.http.post("/api/v1/login", json={"token": token}, headers=headers)


def with_cookie(site: Site, method: str, path: str, cookie: str, **given: object) -> httpx.Response:
    headers = {"cookie": f"khala_session={cookie}"} | dict(given.pop("headers", {}))  # type: ignore[call-overload]
    with httpx.Client(base_url=site.gateway.url) as fresh:
        return fresh.request(method, path, headers=headers, **given)  # type: ignore[arg-type]


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(site: Site) -> None:
    answer = login(site, "ann")
    assert answer.json()["name"] == "ann"
    value, *attributes = answer.headers["set-cookie"].split("; ")
    assert {"Path=/", "HttpOnly", "SameSite=Strict"} < set(attributes) and "Secure" not in attributes
    secure = login(site, "ann", **{"x-forwarded-proto": "https"}).headers["set-cookie"]
    assert secure.endswith("; Secure")
    site.gateway.http.cookies.clear()
    cookie = value.partition("=")[2]
    assert cookie not in ("ann", "") and cookie != secure.split("; ")[0].partition("=")[2]
    own = {"origin": site.gateway.url}
    assert with_cookie(site, "GET", "/api/v1/me", cookie).json()["token"]["session"]
    assert with_cookie(site, "POST", "/api/v1/tasks", cookie, json=TASK, headers=own).status_code == 201
    for headers, status in (({}, 401), ({"origin": "https://evil.example"}, 403), ({"origin": "null"}, 403)):
        for method, path in (
            ("POST", "/api/v1/tasks"),
            ("DELETE", "/api/task?id=x"),
            ("POST", "/api/v1/logout"),
        ):
            answer = with_cookie(site, method, path, cookie, headers=headers)
            assert answer.status_code == status, (method, path, headers)
    gone = with_cookie(site, "POST", "/api/v1/logout", cookie, headers=own)
    assert "Max-Age=0" in gone.headers["set-cookie"]
    wait_until(lambda: with_cookie(site, "GET", "/api/v1/me", cookie).status_code == 401, what="the end")
    assert site.ask("ann", "GET", "/api/v1/me").status_code == 200


def test_a_login_needs_a_good_token_and_this_sites_page(site: Site) -> None:
    problem(login(site, "wrong"), 401, "unauthorized")
    problem(login(site, "x\n"), 401, "unauthorized")
    problem(login(site, "ann", origin="https://evil.example"), 403, "forbidden")
    assert "set-cookie" not in login(site, "wrong").headers


def test_an_open_cluster_has_nothing_to_log_in_to(world: World) -> None:
    with running(Stage(RealCluster(world, secured=False)), auth="none") as gateway:
        answer = gateway.http.post("/api/v1/login", json={"token": "x"})
        assert (answer.json()["role"], answer.headers.get("set-cookie")) == ("admin", None)
        assert gateway.http.get("/api/v1/me").json()["token"] is None


# --- guessing -------------------------------------------------------------------------------------


def test_who_guesses_is_slowed_down_and_a_good_token_still_opens(world: World) -> None:
    cluster = RealCluster(world)
    with running(Stage(cluster), auth="token", wrong_tokens_at_once=5) as gateway:
        site = Site(gateway, cluster)
        statuses = [site.ask(f"guess-{number}", "GET", "/api/v1/me").status_code for number in range(10)]
        assert statuses[:5] == [401] * 5
        assert 429 in statuses[5:]
        answer = site.ask("eve", "GET", "/api/v1/me")
        assert answer.status_code == 429 and "retry-after" in answer.headers
        assert site.ask("ann", "GET", "/api/v1/me").status_code == 200
        problem(login(site, "another"), 429, "too_many_requests")


def test_guesses_are_forgiven_with_time_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    guesses = Guesses(5, lambda: now)

    def refused(address: str, token: str = "t") -> bool:
        try:
            guesses.check(address, token)
        except Refusal as refusal:
            return refusal.code == "too_many_requests"
        return False

    for _ in range(5):
        assert not refused("10.0.0.1")
        guesses.failed("10.0.0.1")
    assert refused("10.0.0.1") and not refused("10.0.0.2")
    guesses.proved("good")
    assert not refused("10.0.0.1", "good")
    now += guessing.FAILURE_EVERY_S
    assert not refused("10.0.0.1")
    guesses.failed("10.0.0.1")
    assert refused("10.0.0.1")
    now += guessing.PROVEN_FOR_S
    for _ in range(5):
        guesses.failed("2001:db8::1")
    assert refused("2001:db8::2") and not refused("2001:db8:0:1::1")
    monkeypatch.setattr(guessing, "REMEMBERED", 100)
    for number in range(1000):
        guesses.failed(f"10.1.{number // 250}.{number % 250}")
        guesses.proved(str(number))
    assert len(guesses._free_at) <= 100 and len(guesses._proven) <= 100
