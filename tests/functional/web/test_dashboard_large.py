"""The dashboard with more nodes than anybody looks at."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from nodepool_tx.model import NodeState
from nodepool_tx.store import paths
from tests.functional.launcher.settings import configuration, host, provider
from tests.functional.web.dashboard_stage import Stage, staged

NODES = 5000
HOSTS = 300
ALL = f"{NODES + HOSTS:,}"

#: Milliseconds for which the page may be deaf, on a busy machine.
DEAF = 400

#: Seconds until it is all there, from the first byte.
LOADED = 15.0

#: The longest time the page did not listen since this was last asked, milliseconds.
LONGEST = """
    const found = window.longest ?? 0;
    window.longest = 0;
    if (!window.watching) {
        window.watching = new PerformanceObserver((list) => {
            for (const one of list.getEntries()) {
                window.longest = Math.max(window.longest ?? 0, one.duration);
            }
        });
        window.watching.observe({type: "longtask"});
    }
    return found;
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    hosts = (host(f"fake-{number:03}", "small") for number in range(HOSTS))
    config = configuration(provider("rack", *hosts))
    with staged(tmp_path_factory.mktemp("large"), config) as stage:
        # Ours would take the numbers that its nodes are to have.
        stage.wait("its hosts", lambda: len(stage.zk.get_children(paths.NODES)) == HOSTS)
        states = (NodeState.READY, NodeState.IN_USE, NodeState.BUILDING, NodeState.HOLD)
        stage.put_nodes(
            (
                f"{number:010}",
                {
                    "state": states[number % len(states)],
                    "provider": f"cloud-{number % 7}",
                    "type": (f"label-{number % 13}",),
                },
            )
            for number in range(1000, 1000 + NODES)
        )
        yield stage


def test_thousands_of_nodes_stay_fluid(stage: Stage) -> None:
    """Few rows are made, and filtering, sorting and scrolling never keep the visitor waiting."""
    began = time.monotonic()
    stage.visit()
    stage.wait("all nodes", lambda: stage.text("#nodes-count") == ALL)
    assert time.monotonic() - began < LOADED
    body = ".windowed tbody:not(.gap)"

    stage.browser.run(LONGEST)
    stage.find("#query")[0].send_keys("state:hold label-3")
    wanted = sum(n % 4 == 3 and n % 13 == 3 for n in range(1000, 1000 + NODES))
    stage.wait("the filter", lambda: stage.text("#nodes-count").startswith(f"{wanted} of"))
    stage.find("#query")[0].clear()
    stage.find("#query")[0].send_keys(Keys.ENTER)
    stage.wait("all again", lambda: stage.text("#nodes-count") == ALL)

    stage.browser.run("document.querySelector('thead .c-id button').click()")
    stage.wait("sorted", lambda: stage.find("th.c-id[aria-sort=ascending]"))
    stage.browser.run(f"document.querySelector('{body} button').focus()")
    ActionChains(stage.browser.driver).send_keys(Keys.END).perform()
    last = f"{999 + NODES:010}"
    stage.wait("the end", lambda: stage.texts(f"{body} th")[-1] == last)
    assert stage.browser.run("return document.activeElement.innerText") == last
    assert len(stage.find(f"{body} tr")) < 120
    assert stage.find("table.windowed")[0].get_attribute("aria-rowcount") == str(NODES + HOSTS + 1)

    stage.put_node(last, state=NodeState.HOLD, comment="just now")
    stage.wait("the change", lambda: "just now" in stage.texts(f"{body} tr")[-1])
    assert stage.browser.run(LONGEST) < DEAF
    assert stage.browser.complaints() == []


def test_a_storm_of_changes_is_drawn_calmly(stage: Stage) -> None:
    """A thousand changes leave the page listening, and are all seen."""
    stage.visit("#nodes=comment%3Astorm")
    stage.browser.run(LONGEST)
    stage.put_nodes(
        (f"{number:010}", {"state": NodeState.USED, "comment": "storm"})
        for number in range(2000, 3000)
    )
    stage.wait("all of them", lambda: stage.text("#nodes-count").startswith("1,000 of"))
    assert stage.browser.run(LONGEST) < DEAF
    stage.remove(paths.node(f"{2000:010}"))
    stage.wait("one less", lambda: stage.text("#nodes-count").startswith("999 of"))


def test_hundreds_of_hosts_are_shown_when_asked_for(stage: Stage) -> None:
    """The first ones at once, all of them after a click."""
    stage.visit()
    stage.wait("tiles", lambda: len(stage.find(".tile")) == 240)
    stage.find(".groups .more")[0].click()
    stage.wait("all", lambda: len(stage.find(".tile")) == HOSTS)
    assert stage.find(".groups .more")[0].is_displayed() is False
    assert stage.browser.complaints() == []
