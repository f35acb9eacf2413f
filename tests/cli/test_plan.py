"""``nodepool plan``: what a reload would do, at the command line."""

from __future__ import annotations

import json
from typing import Any

from nodepool_tx.cli.outcome import ExitCode
from tests.cli.stage import CONFIG, CommandLineTestCase, Run

LABELLED = CONFIG.replace("labels: debian", "labels: debian big").replace(
    "providers:", "  - name: big\nproviders:"
)
MOVED = CONFIG.replace("name: h1", "name: h2")
GONE = CONFIG.replace("- name: dc", "- name: other").replace("name: h1", "name: h9")
LARGER = CONFIG.replace("labels: debian\n", "labels: debian\n            max-parallel-jobs: 3\n")


class PlanTests(CommandLineTestCase):
    """The provider ``dc`` has the host ``h1``."""

    def plan(self, text: str, *words: str) -> Run:
        new = self.config.parent / "new.yaml"
        new.write_text(text)
        return self.run_to_end("plan", str(new), *words)

    def effects(self, text: str) -> list[tuple[Any, ...]]:
        """Effect, machine, node and whether it waits for the node's return."""
        run = self.plan(text, "--format", "json")
        self.assertEqual(run.code, 0, run.stderr)
        return [
            (row["effect"], row["name"], row["node_id"], row["in_use"])
            for row in json.loads(run.stdout)["nodes"]
        ]

    def test_same(self) -> None:
        """The file that is in force changes nothing."""
        self.add_node("ready")
        run = self.plan(CONFIG)
        self.assertEqual(run.code, 0, run.stderr)
        self.assertIn("changes nothing", run.stdout)

    def test_labels(self) -> None:
        """A free node is changed in place, and what changes is told."""
        node = self.add_node("ready", python_path="auto", username="zuul")
        self.assertEqual(self.effects(LABELLED), [("changed", "zuul@h1:2222", node, False)])
        self.assertIn("labels debian -> debian,big", self.plan(LABELLED).stdout)

    def test_in_use(self) -> None:
        """What somebody has is told apart: it happens when the node returns."""
        node = self.add_node("in-use", python_path="auto", username="zuul")
        self.lock(node)
        self.assertEqual(self.effects(LABELLED), [("changed", "zuul@h1:2222", node, True)])
        self.assertIn("(1 when they return)", self.plan(LABELLED).stdout)

    def test_another_host(self) -> None:
        """One machine goes, another comes."""
        node = self.add_node("ready", python_path="auto", username="zuul")
        self.assertEqual(
            self.effects(MOVED),
            [
                ("deregistered", "zuul@h1:2222", node, False),
                ("registered", "zuul@h2:2222", None, False),
            ],
        )

    def test_more_slots(self) -> None:
        """Slots that are new are registered."""
        self.add_node("ready", python_path="auto", username="zuul")
        found = [(effect, node) for effect, _, node, _ in self.effects(LARGER)]
        self.assertEqual(found, [("registered", None), ("registered", None)])

    def notes(self, text: str) -> list[str]:
        run = self.plan(text, "--format", "json")
        self.assertEqual(run.code, 0, run.stderr)
        return [row["note"] for row in json.loads(run.stdout)["notes"]]

    def test_what_is_no_provider(self) -> None:
        """Other settings are told with when they change."""
        more = "webapp: {port: 9, listen_address: '::1'}\nnodepool-tx: {audit-log: /var/log/a}\n"
        self.assertEqual(
            self.notes(CONFIG + more + "zookeeper-timeout: 33\n"),
            [
                "the ZooKeeper settings change at the next start of the launcher",
                "HTTP moves from 0.0.0.0 port 8005 to ::1 port 9",
                "the audit log changes at the next start of the launcher",
            ],
        )

    def test_a_provider_that_others_have_as_well(self) -> None:
        """Its nodes stay for as long as any launcher has it."""
        self.add_pool()
        self.assertNotIn("launchers have", " ".join(self.notes(GONE)))
        self.add_pool()
        self.assertIn(
            "2 launchers have provider dc: its nodes go with the last of them", self.notes(GONE)
        )

    def test_provider_that_goes(self) -> None:
        """The nodes of a provider that is no longer configured go, and its successor's come."""
        free = self.add_node("ready", python_path="auto", username="zuul")
        held = self.add_node("hold", python_path="auto", username="zuul", slot=1)
        self.assertEqual(
            self.effects(GONE),
            [
                ("deregistered", "zuul@h1:2222", free, False),
                ("deregistered", "zuul@h1:2222", held, True),
                ("registered", "zuul@h9:2222", None, False),
            ],
        )

    def test_out_of_service(self) -> None:
        """Nothing is registered on a host that an operator took out of service."""
        self.assertEqual(len(self.effects(LARGER)), 3)
        self.run_to_end("maintain", "h1", "--reason", "new disk")
        self.assertEqual(self.effects(LARGER), [])

    def test_limit(self) -> None:
        """A pipeline is stopped where too many of the nodes there are would go."""
        self.add_node("ready", python_path="auto", username="zuul")
        run = self.plan(MOVED, "--fail-over", "50%")
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("1 of 1 nodes would go (100.0 %), more than the 50 %", run.stderr)
        self.assertEqual(self.plan(MOVED, "--fail-over", "100").code, ExitCode.OK)
        self.assertEqual(self.plan(LABELLED, "--fail-over", "0").code, ExitCode.OK)

    def test_bad_file(self) -> None:
        """All that is wrong with the new file is told."""
        run = self.plan(CONFIG.replace("labels: debian", "label: debian"))
        self.assertEqual(run.code, ExitCode.USAGE)
        self.assertIn("new.yaml:", run.stderr)
        self.assertIn("a launcher would refuse it", run.stderr)

    def test_nothing_is_changed(self) -> None:
        """A plan writes nothing."""
        self.add_node("ready")
        before = self.inspector.dump("/nodepool/nodes/")
        self.plan(GONE)
        self.assertEqual(self.inspector.dump("/nodepool/nodes/"), before)
