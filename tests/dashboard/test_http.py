"""What the dashboard answers over real HTTP, and what it refuses to whom."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.running import wait_until
from tests.dashboard.conftest import TOKEN, wait_until_it_knows
from tests.dashboard.running import Dashboard
from tests.shell.fake_cluster import FakeCluster, event

PAGES = ("/", "/page/main.js", "/page/page.css", "/metrics", "/healthz", "/status.json")
ALL = (*PAGES, "/readyz", "/stream", "/worker/slow-1.json", "/nowhere")


@pytest.fixture(scope="module")
def without_token(cluster: FakeCluster) -> Iterator[Dashboard]:
    with Dashboard(cluster.name) as dashboard:
        wait_until_it_knows(dashboard)
        yield dashboard


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/status.json", "application/json"),
        ("/worker/slow-1.json", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_pages(dashboard: Dashboard, path: str, kind: str) -> None:
    answer = dashboard.get(path)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    head = dashboard.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == kind


def test_head_of_the_stream_ends(dashboard: Dashboard) -> None:
    """So that the connection is free for what comes next."""
    head = f"HEAD /stream HTTP/1.1\r\nHost: {dashboard.host}\r\n\r\n".encode()
    with dashboard.connect() as connection, connection.makefile("rb") as lines:
        for _ in range(2):
            connection.sendall(head)
            assert lines.readline() == b"HTTP/1.1 200 OK\r\n"
            while lines.readline() != b"\r\n":
                pass


def test_every_file_of_the_page_is_served_and_no_other(dashboard: Dashboard) -> None:
    page = dashboard.get("/").text
    assert "/page/main.js" in page
    for path in ("/page/", "/page/../metrics.py", "/page/%2e%2e/metrics.py", "/page/nothing.js"):
        assert dashboard.get(path).status == 404


def test_status_is_that_of_the_cluster_without_what_is_nobodys_business(
    cluster: FakeCluster, dashboard: Dashboard
) -> None:
    secrets = {"body": "secret", "argv": ["secret"], "environment": {"KEY": "secret"}}
    cluster.set_worker("slow-3", **secrets, stack="a secret stack")
    cluster.change(lambda status: status["cluster"].update(secrets))
    cluster.set_worker("slow-3", why="\x1b[2J\u202edrained")

    def status() -> dict[str, object]:
        found: dict[str, object] = dashboard.get("/status.json").json
        return found

    wait_until(lambda: "drained" in json.dumps(status()), 3, "the change in the status")
    assert "secret" not in json.dumps(status())
    assert r"\u001b[2J\u202edrained" in dashboard.get("/worker/slow-3.json").json["worker"]["why"]
    assert dashboard.get("/worker/slow-3.json").json["stack"] == "a secret stack"
    shown = status()
    assert shown["queue"] == cluster.status["queue"]
    assert shown["totals"] == cluster.status["totals"]
    cluster.set_worker("slow-3", why="", stack="")


def test_a_worker_has_a_history(cluster: FakeCluster, dashboard: Dashboard) -> None:
    for number in range(60):
        cluster.emit(event(f"line {number}", worker="quick-1", body="secret"))
    stack = "hangs:\n  File x.py, line 1"
    cluster.emit(event(stack, worker="quick-1", event="stack"))

    def history() -> list[dict[str, str]]:
        found: list[dict[str, str]] = dashboard.get("/worker/quick-1.json").json["events"]
        return found

    wait_until(lambda: history() and history()[-1]["text"] == stack, 3, "the last event")
    assert [one["text"] for one in history()] == [f"line {n}" for n in range(11, 60)] + [stack]
    told = dashboard.get("/worker/quick-1.json")
    assert told.json["stack"] == stack
    assert told.json["worker"]["name"] == "quick-1"
    assert "secret" not in told.text
    assert dashboard.get("/worker/nobody.json").status == 404


def test_ready_means_that_somebody_is_in_rotation(
    cluster: FakeCluster, dashboard: Dashboard
) -> None:
    assert dashboard.get("/readyz").text == "4 in rotation\n"
    before = cluster.status["workers"]

    def all_down(status: dict[str, object]) -> None:
        status["workers"] = [{**one, "state": "drained"} for one in before]

    cluster.change(all_down)
    wait_until(lambda: dashboard.get("/readyz").status == 503, 3, "nobody is ready")
    assert dashboard.get("/healthz").status == 200
    cluster.change(lambda status: status.update(workers=before))
    wait_until(lambda: dashboard.get("/readyz").status == 200, 3, "somebody is ready")


# --- who may ask -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.nip.io"])
def test_a_host_that_we_are_not_known_by(dashboard: Dashboard, path: str, host: str) -> None:
    assert dashboard.request("GET", path, {"Host": host}).status == 421


def test_hosts_that_we_are_known_by(dashboard: Dashboard) -> None:
    port = dashboard.port
    for host in (f"LOCALHOST:{port}", f"[::1]:{port}", f"127.0.0.1:{port}", "dash.example.org"):
        assert dashboard.request("GET", "/", {"Host": host}).status == 200


def test_no_host_at_all(dashboard: Dashboard) -> None:
    with dashboard.connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize(("size_bytes", "status"), [(8_000, 200), (8_200, 431)])
def test_the_head_of_a_request_may_have_8_kib(
    dashboard: Dashboard, size_bytes: int, status: int
) -> None:
    """Wherever they are: in a header or in the path."""
    assert dashboard.get("/", x_padding="x" * size_bytes).status == status
    assert dashboard.get(f"/?{'x' * size_bytes}").status == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "whatever comes next"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_another_page_is_refused_everything(
    cluster: FakeCluster, dashboard: Dashboard, method: str, headers: dict[str, str]
) -> None:
    for path in (*ALL, "/admin/kill"):
        asked = {**headers, "Authorization": f"Bearer {TOKEN}"}
        answer = dashboard.request(method, path, asked)
        assert answer.status == 403
        assert method == "HEAD" or answer.text == "not for other pages\n"
    assert cluster.asked_for("kill") == []


def test_an_address_typed_in_and_our_own_page_are_served(dashboard: Dashboard) -> None:
    assert dashboard.get("/", sec_fetch_site="none", sec_fetch_mode="navigate").status == 200
    ours = dashboard.get("/status.json", sec_fetch_site="same-origin", origin=dashboard.url[:-1])
    assert ours.status == 200


def test_our_own_page_behind_a_proxy_that_adds_tls_may_read_and_act(dashboard: Dashboard) -> None:
    behind = {"Host": "dash.example.org", "Origin": "https://dash.example.org"}
    assert dashboard.get("/status.json", sec_fetch_site="same-origin", **behind).status == 200
    assert dashboard.act("ready", {"worker": "slow-1"}, TOKEN, **behind).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "X"])
def test_other_methods(cluster: FakeCluster, dashboard: Dashboard, method: str) -> None:
    for path in ("/", "/status.json", "/admin/kill", "/nowhere"):
        answer = dashboard.request(method, path, {"Authorization": f"Bearer {TOKEN}"})
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD, POST"
    assert cluster.asked_for("kill") == []


def test_pages_are_not_posted_to_and_actions_not_fetched(dashboard: Dashboard) -> None:
    assert dashboard.request("POST", "/status.json").status == 405
    assert dashboard.get("/admin/drain").status == 405


@pytest.mark.parametrize("path", [*PAGES, "/readyz", "/nowhere", "/admin/drain"])
def test_the_headers_that_every_answer_has(dashboard: Dashboard, path: str) -> None:
    for headers in ({}, {"Host": "evil.example"}, {"Origin": "null"}):
        answer = dashboard.request("GET", path, headers)
        policy = answer.headers["content-security-policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        # Only those that load something fall back on the default.
        for name in ("default-src", "base-uri", "form-action", "frame-ancestors"):
            assert rules[name] == "'none'"
        kinds = ("script", "style", "img", "connect")
        assert all(rules[f"{kind}-src"] == "'self'" for kind in kinds)
        assert rules["require-trusted-types-for"] == "'script'"
        assert rules["trusted-types"] == "'none'"
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "server" not in answer.headers


# --- actions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["drain", "ready", "restart", "kill"])
def test_an_action_is_passed_on_with_who_asks(
    cluster: FakeCluster, dashboard: Dashboard, action: str
) -> None:
    before = len(cluster.asked_for(action))
    answer = dashboard.act(action, {"worker": "slow-1"}, TOKEN)
    assert answer.status == 200
    assert answer.json["did"].startswith("slow-1 ")
    assert answer.json["changed"] in (True, False)
    asked = cluster.asked_for(action)[before:]
    assert asked == [{"op": action, "worker": "slow-1", "by": "dashboard"}]
    dashboard.act("ready", {"worker": "slow-1"}, TOKEN)


@pytest.mark.parametrize(("name", "shown"), [("nobody", "nobody"), ("\ud800", r"\ud800")])
def test_what_the_cluster_says_against_it_is_told(
    dashboard: Dashboard, name: str, shown: str
) -> None:
    answer = dashboard.act("drain", {"worker": name}, TOKEN)
    assert answer.status == 409
    assert answer.json == {"error": f"there is no worker {shown}: see status"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"origin": ""}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"sec_fetch_site": ""}, 403),
        ({"sec_fetch_site": "none"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": ""}, 415),
    ],
    ids=str,
)
def test_who_may_not_act(
    cluster: FakeCluster, dashboard: Dashboard, headers: dict[str, str], status: int
) -> None:
    before = len(cluster.asked)
    assert dashboard.act("kill", {"worker": "slow-2"}, TOKEN, **headers).status == status
    assert [one for one in cluster.asked[before:] if one["op"] == "kill"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        ("[" * 4000, 400),
        ("[]", 400),
        ({}, 400),
        ({"worker": None}, 400),
        ({"worker": ""}, 400),
        ({"worker": ["slow-1"]}, 400),
        ({"worker": "x" * 300}, 400),
        ({"worker": "slow-1", "padding": "x" * 5000}, 413),
    ],
    ids=lambda body: str(body)[:30],
)
def test_bodies_that_make_no_sense(dashboard: Dashboard, body: object, status: int) -> None:
    assert dashboard.act("drain", body, TOKEN).status == status


def test_without_a_token_there_is_nothing_to_act_with(
    cluster: FakeCluster, without_token: Dashboard
) -> None:
    for action in ("drain", "ready", "restart", "kill", "stop", "scale"):
        for token in ("", "None", TOKEN):
            assert without_token.act(action, {"worker": "slow-2"}, token).status == 404
    assert without_token.get("/status.json").status == 200


def test_only_these_actions(cluster: FakeCluster, dashboard: Dashboard) -> None:
    for action in ("stop", "scale", "status", "events", ""):
        assert dashboard.act(action, {"worker": "slow-2"}, TOKEN).status == 404
