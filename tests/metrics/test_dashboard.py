"""The dashboard for Grafana asks only for what there is."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from tests.metrics.stage import EverythingTestCase

ETC = pathlib.Path(__file__).resolve().parents[2] / "etc"
DASHBOARD: dict[str, Any] = json.loads((ETC / "grafana-dashboard.json").read_text())

#: What Prometheus adds to all that it collects.
ADDED = {"instance", "job"}

FUNCTIONS = {"count", "histogram_quantile", "increase", "max", "rate", "sum", "time", "vector"}
WORDS = FUNCTIONS | {"and", "by", "on", "or"}


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, and what its lines are called."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], target["legendFormat"]


class DashboardTests(EverythingTestCase):
    def test_names_and_labels(self) -> None:
        """Every name and every label is one that a launcher tells of."""
        for expression, legend in expressions():
            text = re.sub(r'"[^"]*"|\[[^]]*\]', "", expression)
            grouped = re.findall(r"(?:by|on) \(([^)]*)\)", text)
            groups = {label for group in grouped for label in re.split(", *", group)}
            selectors = re.findall(r"([a-z_]+)\{([^}]*)\}", text)
            labels = set(ADDED)
            for name, matchers in selectors:
                self.assertIn(name, self.seen.names(), expression)
                known = self.seen.labels_of(name) | ADDED
                labels |= known
                for matcher in filter(None, re.split(", *", matchers)):
                    self.assertIn(matcher.rstrip("=~!"), known, expression)
            self.assertLessEqual(groups, labels, expression)
            self.assertLessEqual(set(re.findall(r"\{\{(\w+)\}\}", legend)), labels, expression)
            rest = re.sub(r"(?:by|on) \([^)]*\)|[a-z_]+\{[^}]*\}", "", text)
            self.assertLessEqual(set(re.findall(r"[a-z_]+", rest)), WORDS, expression)
            self.assertTrue(selectors, expression)

    def test_instances(self) -> None:
        """The launchers to choose from are those that there are."""
        variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
        query = variables["instance"]["definition"]
        name = re.fullmatch(r"label_values\(([a-z_]+), instance\)", query)
        assert name is not None
        self.assertIn(name[1], self.seen.names())


def test_up_to_date() -> None:
    """It is what the program beside it writes."""
    spec = importlib.util.spec_from_file_location("grafana_dashboard", ETC / "grafana_dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.text() == (ETC / "grafana-dashboard.json").read_text()


def test_rows() -> None:
    """Everything that is measured has a row, and every panel a place of its own."""
    panels = DASHBOARD["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == [
        "Overview",
        "Requests",
        "Launches",
        "Static hosts",
        "Quota",
        "Reloads",
        "ZooKeeper and the reactor",
    ]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_source() -> None:
    """All data comes from the source that is chosen on the page."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    assert DASHBOARD["schemaVersion"] >= 38
