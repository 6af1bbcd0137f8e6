"""The page in a real browser: what people see and do, and that foreign pages can do neither."""

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.cluster.running import wait_until
from tests.dashboard.browser import Browser, chromium
from tests.dashboard.conftest import TOKEN
from tests.dashboard.running import Dashboard
from tests.shell.fake_cluster import FakeCluster, event

FOREIGN = """
const [url, token, done] = arguments;
(async () => {
  const found = {};
  for (const path of ["status.json", "metrics", "stream", "worker/slow-1.json"]) {
    try { found[path] = await (await fetch(url + path)).text(); }
    catch { found[path] = "refused"; }
    try { found[path] += (await fetch(url + path, {mode: "no-cors"})).type; }
    catch { found[path] += " refused"; }
  }
  const headers = {"Content-Type": "application/json", Authorization: "Bearer " + token};
  const body = JSON.stringify({worker: "slow-1"});
  for (const [name, how] of Object.entries({
    json: {method: "POST", headers, body},
    blind: {method: "POST", mode: "no-cors", body},
  })) {
    try { found[name] = (await fetch(url + "admin/kill", how)).type; }
    catch { found[name] = "refused"; }
  }
  const frame = document.createElement("iframe");
  frame.src = url;
  await new Promise((resolve) => { frame.onload = resolve; document.body.append(frame); });
  found.frame = frame.contentDocument === null ? "opaque" : "readable";
  const form = document.createElement("form");
  Object.assign(form, {method: "POST", action: url + "admin/kill", enctype: "text/plain"});
  form.target = "elsewhere";
  document.body.append(form);
  form.submit();
  done(found);
})();
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, dashboard: Dashboard) -> Iterator[Browser]:
    """The page, freshly opened; in the end the browser must have nothing to complain of."""
    browser.complaints()
    browser.open(dashboard.url)
    wait_until(lambda: browser.count(".tile") == 4, 5, "four tiles")
    yield browser
    assert browser.complaints() == []
    browser.run("sessionStorage.clear()")


@pytest.fixture
def set_state(cluster: FakeCluster) -> Iterator[Callable[..., None]]:
    """Have something become of a worker, in this cluster by a word."""

    def set_state(name: str, state: str, **fields: object) -> None:
        cluster.set_worker(name, state=state, **fields)
        cluster.emit(event(f"is {state} now", name, "warning", worker=name, event="died"))

    yield set_state
    for one in cluster.status["workers"]:
        cluster.set_worker(one["name"], state="idle", why="", request=None, request_age_ms=None)


def tile(name: str) -> str:
    return f'.tile[data-worker="{name}"]'


def test_the_cluster_is_drawn(page: Browser, cluster: FakeCluster) -> None:
    assert page.text("#cluster-name") == cluster.name
    assert page.text("#cluster-state") == "running"
    assert page.count(".pool") == 2
    assert "1 of 1 in rotation" in page.text('[aria-label="Pool quick"]')
    assert "idle" in page.text(tile("slow-1"))
    assert "of 1,024 may wait" in page.text("#queue-limit")
    assert page.text("#frontend-address") == "tcp://127.0.0.1:5555"


def test_a_change_of_state_is_seen_within_a_second(
    page: Browser, set_state: Callable[..., None]
) -> None:
    set_state("slow-3", "down", why="killed by SIGKILL")
    page.wait_for_text(tile("slow-3"), "down", 1.0)
    assert "killed by SIGKILL" in page.text(tile("slow-3"))
    assert page.find(tile("slow-3")).get_attribute("data-tone") == "red"
    page.wait_for_text("#said", "slow-3 is down", 1.0)
    page.wait_for_text("#feed li:first-child", "is down now", 1.0)
    set_state("slow-3", "idle")
    page.wait_for_text(tile("slow-3"), "idle", 1.0)


def test_what_a_worker_holds_and_for_how_long(
    page: Browser, set_state: Callable[..., None]
) -> None:
    set_state("slow-2", "busy", request="7f3a-12", request_age_ms=12_000.0)
    page.wait_for_text(tile("slow-2"), "7f3a-12")
    ages: set[str] = set()

    def goes_on() -> bool:
        ages.add(page.text(f"{tile('slow-2')} .age"))
        return len(ages) > 4

    wait_until(goes_on, 3, "an age that goes on between two statuses")
    assert all(re.fullmatch(r"1[23]\.\d\ss", age) for age in ages), ages


def test_text_is_never_markup(page: Browser, cluster: FakeCluster) -> None:
    text = "<img src=x onerror=document.title='bad'><b>bold</b>"
    cluster.set_worker("slow-1", why=text)
    cluster.emit(event(text, source=text, worker="slow-1"))
    page.wait_for_text(tile("slow-1"), text)
    page.wait_for_text("#feed li:first-child", text)
    page.find(tile("slow-1")).click()
    page.wait_for_text("#worker-events", text)
    assert page.count("main img, main b b, dialog img") == 0
    cluster.set_worker("slow-1", why="")


def test_the_feed_shows_warnings_only_if_asked_to(page: Browser, cluster: FakeCluster) -> None:
    cluster.emit(event("all is well"))
    cluster.emit(event("all is not well", level="warning"))
    page.wait_for_text("#feed", "all is not well")
    page.find("#feed-warnings").click()
    assert "all is well" not in page.text("#feed")
    assert "all is not well" in page.text("#feed")


def test_a_worker_by_keyboard_alone(page: Browser, cluster: FakeCluster) -> None:
    cluster.emit(event("its own line", worker="slow-1"))
    stack = "hangs:\n  File model.py, line 3"
    cluster.emit(event(stack, worker="slow-1", event="stack"))
    page.run("document.querySelector(arguments[0]).focus()", tile("slow-1"))
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait_for_text("#worker-name", "slow-1")
    page.wait_for_text("#worker-events", "its own line")
    page.wait_for_text("#worker-stack", "File model.py, line 3")
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_until(lambda: page.count("dialog[open]") == 0, 2, "the end of the dialog")
    focused = page.run("return document.activeElement.dataset.worker")
    assert focused == "slow-1"


def test_an_operator_with_a_token_drains_and_kills(
    page: Browser, dashboard: Dashboard, cluster: FakeCluster
) -> None:
    page.open(f"{dashboard.url}#token={TOKEN.replace(' ', '%20')}")
    page.driver.refresh()
    wait_until(lambda: page.count(".tile") == 4, 5, "four tiles")
    assert page.driver.current_url == dashboard.url, "the token is not left in the address"
    page.find(tile("slow-1")).click()
    before = len(cluster.asked_for("kill"))
    page.find('[data-action="drain"]').click()
    page.wait_for_text("#worker-result", "slow-1 takes nothing new")
    assert cluster.asked_for("drain")[-1] == {"op": "drain", "worker": "slow-1", "by": "dashboard"}
    page.wait_for_text("#worker-state", "drained", 1.0)
    page.find('[data-action="drain"]').click()
    page.wait_for_text("#worker-result", "it was so already")
    page.find('[data-action="kill"]').click()
    page.wait_for_text("#worker-confirm-text", "Kill slow-1")
    assert len(cluster.asked_for("kill")) == before, "not before it is confirmed"
    page.find("#worker-confirm-yes").click()
    page.wait_for_text("#worker-result", "slow-1 is killed")
    page.find('[data-action="ready"]').click()
    page.wait_for_text("#worker-result", "slow-1 is in rotation again")


def test_a_wrong_token_is_told_and_forgotten(page: Browser) -> None:
    page.find(tile("slow-1")).click()
    page.find("#token").send_keys("wrong", Keys.ENTER)
    page.find('[data-action="restart"]').click()
    page.wait_for_text("#worker-result", "this is not the dashboard's token")
    assert page.find("#token").is_displayed()
    assert [one for one in page.complaints() if "401" not in one] == []


def test_without_a_token_there_are_no_buttons(browser: Browser, cluster: FakeCluster) -> None:
    with Dashboard(cluster.name) as dashboard:
        browser.open(dashboard.url)
        wait_until(lambda: browser.count(".tile") == 4, 5, "four tiles")
        browser.find(tile("slow-1")).click()
        browser.wait_for_text("#worker-name", "slow-1")
        assert not browser.find("#worker-admin").is_displayed()
        # Else the end of this dashboard would be a complaint in the next test.
        browser.open("about:blank")


def test_a_cluster_that_does_not_answer_is_said_and_comes_back(
    page: Browser, cluster: FakeCluster
) -> None:
    cluster.stop()
    page.wait_for_text("#trouble", "The cluster does not answer.", 3.0)
    assert page.count(".tile") == 4
    cluster.start()
    wait_until(lambda: page.text("#trouble") == "", 5, "the end of the trouble")
    assert page.text("#cluster-state") == "running"


def test_a_phone_scrolls_one_way_only(page: Browser, cluster: FakeCluster) -> None:
    name = "a-name-without-any-place-to-break-it-which-is-longer-than-the-screen" * 2
    before = cluster.status["workers"]
    cluster.change(lambda status: status["workers"].append({**before[0], "name": name}))
    wait_until(lambda: page.count(".tile") == 5, 5, "five tiles")
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    assert page.run("return document.documentElement.scrollWidth") == 390
    page.find(tile("slow-1")).click()
    page.wait_for_text("#worker-name", "slow-1")
    assert page.run("return document.querySelector('dialog').scrollWidth") <= 390
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    cluster.change(lambda status: status.update(workers=before))


# --- foreign pages -----------------------------------------------------------------------------


@pytest.fixture
def foreign_url(tmp_path: Path) -> Iterator[str]:
    """Another site, on this machine too."""
    (tmp_path / "index.html").write_text("<!doctype html><title>foreign</title>")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_foreign_page_can_neither_read_nor_act(
    browser: Browser, dashboard: Dashboard, cluster: FakeCluster, foreign_url: str, host: str
) -> None:
    """It may even know the token. One is of the same site, one of another."""
    browser.open(foreign_url.replace("127.0.0.1", host))
    before = len(cluster.asked_for("kill"))
    found = browser.run_and_wait(FOREIGN, dashboard.url, TOKEN)
    refused = "refused refused"
    assert found == {
        "status.json": refused,
        "metrics": refused,
        "stream": refused,
        "worker/slow-1.json": refused,
        "json": "refused",
        "blind": "refused",
        "frame": "opaque",
    }
    assert len(cluster.asked_for("kill")) == before
    browser.driver.switch_to.frame(0)
    assert browser.count(".tile") == 0, "not even drawn in a frame"
    browser.driver.switch_to.default_content()
    browser.complaints()
