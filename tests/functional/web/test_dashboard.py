"""The dashboard in a real browser, of a real launcher with a real ZooKeeper."""

from __future__ import annotations

import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from nodepool_tx.model import Maintenance, MaintenanceMode, NodeState
from nodepool_tx.store import paths
from tests.functional.launcher.settings import host, provider
from tests.functional.web.browser import DESK
from tests.functional.web.dashboard_stage import ELSEWHERE, Stage, staged
from tests.servers.zookeeper import shared_server

#: Nobody listens there, and its name says that it is contacted all the same.
DOWN = "127.0.0.9"

HOSTILE = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>\'&amp;'

CONFIG: dict[str, Any] = {
    "labels": [{"name": name} for name in ("small", "large", "cloud-small")],
    "providers": [
        provider(
            "rack",
            *(host(f"fake-{number}", "small", jobs=2) for number in range(4)),
            host(DOWN, "large", timeout=1),
        ),
        {
            "name": "sky",
            "driver": "fake",
            "simulation": {
                "max-cores": 8,
                "flavors": [{"name": "small", "vcpus": 4, "ram": 4096}],
            },
            "cloud-images": [{"name": "debian", "image-name": "Fake Precise"}],
            "pools": [
                {
                    "name": "main",
                    "labels": [
                        {"name": "cloud-small", "cloud-image": "debian", "flavor-name": "small"}
                    ],
                }
            ],
        },
    ],
}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("dashboard"), CONFIG) as stage:
        yield stage


@pytest.fixture
def stage(farm: Stage) -> Iterator[Stage]:
    """The farm, with a browser as a visitor's is when he comes for the first time."""
    yield farm
    farm.browser.size(*DESK)
    farm.browser.prefer(prefers_color_scheme="light")
    farm.browser.run("localStorage.clear()")


def row_of(stage: Stage, node_id: str) -> str:
    """The text of a node's row in the table; empty if it is not in sight."""
    rows = stage.texts(".windowed tbody:not(.gap) tr")
    return next((row for row in rows if row.startswith(node_id)), "")


# -- what is shown


def test_it_loads_without_a_complaint(stage: Stage) -> None:
    """It shows the launcher, its providers and its nodes; the console stays empty."""
    stage.visit()
    status = stage.ask("api/status")
    stage.wait("all nodes", lambda: len(stage.texts(".windowed tbody:not(.gap) tr")) >= 8)
    assert stage.text("#hostname") == status["hostname"]
    assert status["version"] in stage.text("#version")
    assert "ZooKeeper connected" in stage.text("#pills")
    assert stage.texts(".fleet .provider h3 button") == ["rack", "sky"]
    assert "8 ready" in stage.text("#fleet-body")
    assert "0 / 8" in stage.text("#quota-body")
    assert stage.browser.complaints() == []


def test_hosts_out_of_service_come_first(stage: Stage) -> None:
    """One that is down and one in maintenance, each with its reason; then the others."""
    record = Maintenance(
        mode=MaintenanceMode.MAINTAIN,
        host="fake-3",
        reason="its disk is changed",
        since=time.time() - 7300,
        until=time.time() + 3600,
        by="ada",
    )
    stage.visit()
    stage.wait("it is down", lambda: "connection refused" in stage.text("#hosts-body"))
    before = len(stage.find(".tile"))
    stage.put_maintenance(record)
    try:
        stage.wait("maintenance", lambda: "its disk is changed" in stage.text(".troubled"))
        rows = [re.sub(r"\s+", " ", row) for row in stage.texts(".troubled li")]
        assert [row.split()[0:2] for row in rows] == [["down", DOWN], ["maintenance", "fake-3"]]
        assert re.search(r"by ada · until .*\d\d:\d\d:\d\d", rows[1])
        assert "2 h 01 m" in rows[1]
        assert len(stage.find(".tile")) == before - 1
    finally:
        stage.remove(paths.maintenance_of_host("fake-3"))
    stage.wait("it is back", lambda: len(stage.find(".tile")) == before)


def test_a_request_that_waits_says_why(stage: Stage) -> None:
    """In the list by a line, and in the panel rule by rule; Escape leads back."""
    stage.visit()
    request = stage.put_request("large", tenant_name="kernel", requestor="gate")
    try:
        stage.wait("its reason", lambda: "no free node for large" in stage.text("#requests-body"))
        row = stage.text("#requests-body tbody tr")
        assert all(word in row for word in (request, "large", "kernel", "gate"))
        age = stage.text("#requests-body tbody time")
        stage.wait("its age counts", lambda: stage.text("#requests-body tbody time") != age)

        stage.find("#requests-body tbody button")[0].click()
        stage.wait("the explanation", lambda: stage.find("#sheet .verdict"))
        assert request in stage.text("#sheet-title")
        assert "rack/main" in stage.text("#sheet-body")
        assert request in stage.browser.run("return decodeURIComponent(location.hash)")
        ActionChains(stage.browser.driver).send_keys(Keys.ESCAPE).perform()
        stage.wait("it is closed", lambda: not stage.find("#sheet[open]"))
        focused = stage.browser.run("return document.activeElement.innerText")
        assert focused == request
    finally:
        stage.remove(paths.request(request))
    stage.wait("nobody waits", lambda: request not in stage.text("#requests-body"))
    assert stage.browser.complaints() == []


def test_what_happened_is_drawn(stage: Stage) -> None:
    """Launches of the simulated cloud appear in the plots, under the pointer and as a table."""
    stage.visit()
    request = stage.put_request("cloud-small")
    try:
        stage.wait("a launch", lambda: stage.find("#plots figure:first-child path.s0"))
        figure = stage.find("#plots figure")[0]
        figure.find_element(By.CSS_SELECTOR, "summary").click()
        stage.wait("numbers", lambda: "sky" in stage.text("#plots figure thead"))
        bars = figure.find_element(By.CSS_SELECTOR, "path.s0")
        ActionChains(stage.browser.driver).move_to_element(bars).perform()
        stage.wait("the read-out", lambda: "sky" in stage.text(".tip"))

        stage.find("#span button")[0].click()
        assert stage.find("#span button")[0].get_attribute("aria-pressed") == "true"
        assert "span=60" in stage.browser.run("return location.hash")
        assert stage.browser.complaints() == []
    finally:
        stage.remove(paths.request(request))


def test_a_refused_configuration_is_announced(stage: Stage) -> None:
    """With file and line, until it is put right; what was reloaded then is listed."""
    stage.visit()
    wrong = {**CONFIG, "labels": [{"name": "small", "min-readdy": 1}, *CONFIG["labels"][1:]]}
    try:
        stage.configure(wrong)
        stage.wait("the banner", lambda: stage.find("#banners .banner"))
        banner = stage.text("#banners")
        assert re.search(r"nodepool\.yaml:\d+: ", banner), banner
        assert "min-readdy" in banner
        changed = [
            provider("rack", *CONFIG["providers"][0]["pools"][0]["nodes"][:4]),
            CONFIG["providers"][1],
        ]
        stage.configure({**CONFIG, "providers": changed, "labels": CONFIG["labels"]})
        stage.wait("it is put right", lambda: not stage.find("#banners .banner"))
        stage.wait("the reload", lambda: "replaced rack" in stage.text("#reloads-body"))
    finally:
        stage.configure(CONFIG)
    stage.wait("as before", lambda: DOWN in stage.text(".troubled"))


# -- how it changes


def test_it_changes_as_zookeeper_does(stage: Stage) -> None:
    """A node that appears, changes and goes is seen to, in the same page."""
    stage.visit("#nodes=provider%3Aelsewhere")
    stage.browser.run("window.untouched = true")
    stage.put_node("live-1")
    try:
        stage.wait("it appears", lambda: "ready" in row_of(stage, "live-1"))
        assert "elsewhere" in stage.text("#fleet-body")
        stage.put_node("live-1", state=NodeState.HOLD, comment="look at this")
        stage.wait("it is held", lambda: "hold" in row_of(stage, "live-1"))
        assert "look at this" in row_of(stage, "live-1")
        assert "1 of" in stage.text("#nodes-count")
    finally:
        stage.remove(paths.node("live-1"))
    stage.wait("it is gone", lambda: row_of(stage, "live-1") == "")
    stage.wait("its provider, too", lambda: "elsewhere" not in stage.text("#fleet-body"))
    assert stage.browser.run("return window.untouched") is True
    assert stage.browser.complaints() == []


def test_a_launcher_that_ends_makes_it_stale(stage: Stage) -> None:
    """It says since when, and catches up by itself with the next launcher."""
    stage.visit("#nodes=provider%3Aelsewhere")
    stage.launcher.kill()
    try:
        stage.wait("stale", lambda: "stale since" in stage.text("#connection"))
        assert "does not answer" in stage.text("#banners")
        stage.put_node("late-1")
    finally:
        stage.start()
    stage.until_live()
    stage.wait("the news", lambda: "ready" in row_of(stage, "late-1"))
    assert stage.find("#banners .banner") == []
    stage.remove(paths.node("late-1"))
    stage.wait("it is live again", lambda: row_of(stage, "late-1") == "")


def test_a_zookeeper_that_is_gone_is_announced(stage: Stage) -> None:
    """The page stays live, as the launcher does; and says when all is well again."""
    stage.visit()
    server = shared_server()
    server.freeze()
    try:
        stage.wait("the banner", lambda: "connection to ZooKeeper is" in stage.text("#banners"))
        assert "ZooKeeper connected" not in stage.text("#pills")
        stage.wait("not ready", lambda: "not ready" in stage.text("#pills"))
        assert stage.text("#connection") == "live"
    finally:
        server.thaw()
    stage.wait("it is back", lambda: "ZooKeeper connected" in stage.text("#pills"))
    stage.wait("no banner", lambda: not stage.find("#banners .banner"))
    stage.wait("ready", lambda: stage.texts("#pills li")[0] == "ready")


def test_it_asks_now_and_then_where_streams_are_refused(stage: Stage) -> None:
    """Everything is read again every few seconds, and that is said."""
    stage.browser.driver.execute_cdp_cmd("Network.enable", {})
    stage.browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/api/events*"]})
    try:
        stage.browser.driver.get("about:blank")
        stage.browser.driver.get(stage.url + "#nodes=provider%3Aelsewhere")
        stage.wait("it asks", lambda: "updated every 5 s" in stage.text("#connection"))
        stage.put_node("asked-1")
        stage.wait("the answer", lambda: "ready" in row_of(stage, "asked-1"))
    finally:
        stage.browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
        stage.remove(paths.node("asked-1"))


def test_a_hidden_page_lets_go_of_its_stream(stage: Stage) -> None:
    """And reads everything again when it is looked at."""
    stage.visit("#nodes=provider%3Aelsewhere")
    hide = (
        "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'));"
    )
    stage.browser.run(hide, True)
    stage.wait("it pauses", lambda: stage.text("#connection") == "paused")
    stage.put_node("unseen-1")
    try:
        stage.browser.run(hide, False)
        stage.until_live()
        stage.wait("the news", lambda: "ready" in row_of(stage, "unseen-1"))
    finally:
        stage.remove(paths.node("unseen-1"))


# -- how it is used


def test_a_view_is_in_its_address(stage: Stage) -> None:
    """What was filtered, sorted and opened comes back with the address, and changes it."""
    for name in ("view-1", "view-2", "other-3"):
        stage.put_node(name, comment="kept")
    try:
        stage.visit("#nodes=provider%3Aelsewhere+view&sort=-id")
        stage.wait("two of them", lambda: stage.text("#nodes-count").startswith("2 of"))
        rows = stage.texts(".windowed tbody:not(.gap) tr")
        assert [row.split()[0] for row in rows] == ["view-2", "view-1"]
        assert stage.find("#query")[0].get_attribute("value") == "provider:elsewhere view"

        stage.find("th[aria-sort] button")[0].click()
        stage.wait(
            "turned round", lambda: stage.texts(".windowed tbody:not(.gap) th")[0] == "view-1"
        )
        assert "sort=id" in stage.browser.run("return location.hash")

        stage.find("#fleet-body .chip")[0].click()
        words = stage.find("#query")[0].get_attribute("value") or ""
        assert "state:ready" in words
        assert f"provider:{ELSEWHERE}" in words
    finally:
        for name in ("view-1", "view-2", "other-3"):
            stage.remove(paths.node(name))


FILTERED = (
    ("", "abc"),
    ("state:hold,ready", "ac"),
    ("state:ho", ""),
    ("provider:north pool:main", "ab"),
    ("label:debian-13 -az:az1", "b"),
    ('host:"rack 7"', "c"),
    ("host:RACK", "c"),
    ("locked:yes", "b"),
    ("request:200-17", "b"),
    ("debian", "ab"),
    ("-debian", "c"),
    ("nosuchkey:x", ""),
    ('"', "abc"),
)


def test_words_of_the_filter(stage: Stage) -> None:
    """Each finds what the manual says."""
    stage.visit()
    nodes: list[dict[str, Any]] = [
        {"id": "a", "state": "hold", "provider": "north", "pool": "main", "az": "az1"},
        {"id": "b", "state": "in-use", "provider": "north", "pool": "main", "az": "az2"},
        {"id": "c", "state": "ready", "provider": "east", "hostname": "rack 7.example.org"},
    ]
    nodes[0]["labels"] = nodes[1]["labels"] = ["debian-13", "small"]
    nodes[1] |= {"locked": True, "allocated_to": "200-17"}
    found = stage.browser.driver.execute_async_script(
        "const [nodes, words, done] = arguments;"
        "import('/static/filter.js').then(({filterOf}) => done(words.map((each) =>"
        " nodes.filter(filterOf(each) ?? (() => true)).map((node) => node.id).join(''))));",
        nodes,
        [words for words, _ in FILTERED],
    )
    assert list(zip([words for words, _ in FILTERED], found, strict=True)) == list(FILTERED)


def test_keys_are_enough(stage: Stage) -> None:
    """Rows are walked with arrows, opened with Enter and left with Escape."""
    stage.visit()
    stage.wait("nodes", lambda: len(stage.find(".windowed tbody:not(.gap) tr")) >= 8)
    ids = stage.texts(".windowed tbody:not(.gap) th")
    keys = ActionChains(stage.browser.driver)
    stage.browser.run("document.querySelector('.windowed tbody:not(.gap) button').focus()")
    keys.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ENTER).perform()
    stage.wait("the second node", lambda: stage.text("#sheet-title") == f"Node {ids[1]}")
    assert "hostname" in stage.text("#sheet-body")
    ActionChains(stage.browser.driver).send_keys(Keys.ESCAPE).perform()
    stage.wait("it is closed", lambda: not stage.find("#sheet[open]"))
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert stage.browser.run(outline) == "solid"


def test_hostile_words_stay_words(stage: Stage) -> None:
    """Whatever somebody wrote into ZooKeeper or the configuration is shown as it is."""
    stage.put_node(
        "hostile-1",
        hostname=HOSTILE,
        comment=HOSTILE,
        provider=HOSTILE,
        pool=HOSTILE,
        type=(HOSTILE,),
        allocated_to=HOSTILE,
    )
    request = stage.put_request("large", tenant_name=HOSTILE, requestor=HOSTILE)
    try:
        stage.configure({**CONFIG, "labels": [*CONFIG["labels"], {"name": 1, HOSTILE: HOSTILE}]})
        stage.visit("#open=node+hostile-1&nodes=hostile")
        stage.wait("the node", lambda: HOSTILE in stage.text("#sheet-body"))
        ActionChains(stage.browser.driver).send_keys(Keys.ESCAPE).perform()
        stage.wait("the row", lambda: HOSTILE in row_of(stage, "hostile-1"))
        stage.wait("the banner", lambda: HOSTILE[:30] in stage.text("#banners"))
        stage.wait("the requests", lambda: stage.text("#requests-body").count(HOSTILE) == 2)
        assert HOSTILE in stage.text("#fleet-body")
        stage.find("#requests-body tbody button")[0].click()
        stage.wait("the explanation", lambda: HOSTILE in stage.text("#sheet-body"))
        ActionChains(stage.browser.driver).send_keys(Keys.ESCAPE).perform()
        # A provider of that name can be asked for by a click, too.
        stage.browser.run(
            "[...document.querySelectorAll('.fleet h3 button')]"
            ".find((one) => one.innerText === arguments[0]).click()",
            HOSTILE,
        )
        assert stage.browser.run("return document.querySelectorAll('img, script').length") == 3
        assert stage.browser.run("return window.harmed") is None
        assert stage.browser.complaints() == []
    finally:
        stage.configure(CONFIG)
        stage.remove(paths.node("hostile-1"))
        stage.remove(paths.request(request))
    stage.wait("the banner goes", lambda: not stage.find("#banners .banner"))


# -- how it looks


def lightness(stage: Stage) -> int:
    """Of the ground, from 0 to 765."""
    colour = stage.browser.run("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def test_light_and_dark(stage: Stage) -> None:
    """As the system is, or as the visitor has chosen; which is remembered."""
    stage.visit()
    assert lightness(stage) > 600
    stage.browser.prefer(prefers_color_scheme="dark")
    assert lightness(stage) < 150
    button = stage.find("#theme")[0]
    button.click()
    assert button.text == "Theme: light"
    assert lightness(stage) > 600
    stage.visit()
    assert lightness(stage) > 600
    stage.find("#theme")[0].click()
    stage.browser.prefer(prefers_color_scheme="light")
    assert lightness(stage) < 150


def test_nothing_moves_for_those_who_do_not_want_it(stage: Stage) -> None:
    """Bars grow at once where motion is to be reduced."""
    stage.visit()
    duration = "return getComputedStyle(document.querySelector('.stack i')).transitionDuration"
    stage.wait("bars", lambda: stage.find(".stack i"))
    assert stage.browser.run(duration) != "0s"
    stage.browser.prefer(prefers_reduced_motion="reduce")
    assert stage.browser.run(duration) == "0s"


@pytest.mark.parametrize("width", [360, 390, 768])
def test_a_small_screen_is_enough(stage: Stage, width: int) -> None:
    """Nothing is wider than the screen, whatever there is to show."""
    long_name = "a-very-long-name-of-a-host-in-a-rack-" * 4
    stage.put_node("wide-1", hostname=long_name, provider=long_name, comment=long_name)
    request = stage.put_request("large", tenant_name=long_name, requestor=long_name)
    try:
        stage.browser.size(width, 800, 2, touch=True)
        stage.visit()
        stage.wait("the request", lambda: long_name in stage.text("#requests-body"))
        stage.wait("the node", lambda: long_name in stage.text("#fleet-body"))
        wide = "return document.scrollingElement.scrollWidth"
        assert stage.browser.run(wide) == width
        stage.find("#requests-body tbody button")[0].click()
        stage.wait("the explanation", lambda: stage.find("#sheet .verdict"))
        sheet = "const s = document.getElementById('sheet'); return [s.scrollWidth, s.clientWidth]"
        inner, outer = stage.browser.run(sheet)
        assert inner == outer <= width
    finally:
        stage.remove(paths.node("wide-1"))
        stage.remove(paths.request(request))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_kept_out(stage: Stage, theme: str) -> None:
    """axe-core finds nothing: in the page, a panel, a table, with troubles, on a phone."""
    stage.browser.prefer(prefers_color_scheme=theme)
    stage.put_node("held-1", state=NodeState.HOLD, comment="kept")
    stage.put_node("failed-1", state=NodeState.FAILED)
    request = stage.put_request("large", tenant_name="kernel")
    wrong = {**CONFIG, "labels": [*CONFIG["labels"], {"name": "small"}]}
    try:
        stage.configure(wrong)
        stage.visit()
        stage.wait("a request", lambda: request in stage.text("#requests-body"))
        stage.wait("a banner", lambda: stage.find("#banners .banner"))
        stage.browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
        assert stage.browser.barriers() == []
        stage.find("#requests-body tbody button")[0].click()
        stage.wait("the explanation", lambda: stage.find("#sheet .verdict"))
        assert stage.browser.barriers() == []
        stage.browser.size(390, 800, 2, touch=True)
        ActionChains(stage.browser.driver).send_keys(Keys.ESCAPE).perform()
        assert stage.browser.barriers() == []
    finally:
        stage.configure(CONFIG)
        stage.remove(paths.node("held-1"))
        stage.remove(paths.node("failed-1"))
        stage.remove(paths.request(request))


def test_the_page_is_ours_alone(stage: Stage) -> None:
    """Everything it loads comes from the launcher, and no module reads text as HTML."""
    stage.visit()
    loaded: list[str] = stage.browser.run(
        "return performance.getEntriesByType('resource').map((one) => one.name)"
    )
    assert len(loaded) > 15
    assert [name for name in loaded if not name.startswith(stage.url)] == []
    directory = pathlib.Path(__file__).parents[3] / "nodepool_tx" / "web" / "dashboard"
    modules = {path.name: path.read_text() for path in directory.glob("*.js")}
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(")
    assert [name for name, text in modules.items() if forbidden.search(text)] == []
    assert {name for name in modules if f"/static/{name}" not in " ".join(loaded)} == set()
