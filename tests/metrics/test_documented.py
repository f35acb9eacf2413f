"""The page about metrics names all of them, and no others."""

from __future__ import annotations

import pathlib
import re

from nodepool_tx.metrics.statsd import Statsd, lines_of
from nodepool_tx.providers.cloud import results
from tests.metrics.stage import EVENTS, EverythingTestCase

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
PROMETHEUS, _, STATSD = PAGE.partition("\n## statsd\n")

#: Name, type, labels and text of each row about Prometheus.
ROW = re.compile(r"^\| `(nodepool_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", re.MULTILINE)


class PrometheusTests(EverythingTestCase):
    def test_every_name(self) -> None:
        """Name, type, labels and text are those that Prometheus gets."""
        documented = {
            name: (kind, set(re.findall(r"`(\w+)`", labels)), text)
            for name, kind, labels, text in ROW.findall(PROMETHEUS)
        }
        told = {}
        for family in self.seen.families.values():
            if family.name.startswith("nodepool_"):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                labels = {label for sample in family.samples for label in sample.labels}
                told[name] = (family.type, labels - {"le", "quantile"}, family.documentation)
        self.assertEqual(documented, told)


class StatsdTests(EverythingTestCase):
    def test_every_name(self) -> None:
        """What is sent has a row, and every row is sent."""
        sent: list[str] = []
        statsd = Statsd(self.sources, lambda *lines: sent.extend(lines), 5.0)
        statsd.startService()
        self.wait(5)
        self.done(statsd.stopService())
        sent += (line for event in EVENTS for line in lines_of(event))
        answered = "nodepool.task.cloud.compute.GET.servers"
        sent += (f"{answered}.200:1.0|ms", f"{answered}.200:1|c", f"{answered}.over_1000:1|c")
        rows = dict(re.findall(r"^\| `(nodepool\.[^`]+)` \| ([a-z, ]+) \|", STATSD, re.MULTILINE))
        patterns = {row: re.compile(re.sub(r"<\w+>", "[^:]+", row)) for row in rows}
        kinds: dict[str, set[str]] = {row: set() for row in rows}
        for line in sent:
            name, _, value = line.rpartition(":")
            kind = {"g": "gauge", "c": "counter", "ms": "timer"}[value.rpartition("|")[2]]
            fitting = [row for row, pattern in patterns.items() if pattern.fullmatch(name)]
            self.assertTrue(fitting, name)
            for row in fitting:
                kinds[row].add(kind)
        for row, documented in rows.items():
            self.assertLessEqual(set(documented.split(", ")), kinds[row], row)


def test_every_result() -> None:
    """The names of failed launches are explained."""
    names = {name for _, name in results._NAMES} | {
        results.READY,
        results.SESSION_LOST,
        results.UNKNOWN,
        "status",
    }
    (line,) = re.findall(r"^`result` of launches.*$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) - {"result"} == names
