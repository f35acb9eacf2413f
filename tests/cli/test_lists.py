"""The verbs that only look, on a ZooKeeper in memory."""

from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.store import paths
from tests.cli.stage import CommandLineTestCase


class ListTests(CommandLineTestCase):
    def test_list_shows_all_nodes(self) -> None:
        """As a table, on standard output, and nothing else."""
        first, second = self.add_node(), self.add_node("in-use")
        self.lock(second)
        run = self.run_to_end("list")
        self.assertEqual(run.code, ExitCode.OK)
        self.assertEqual(run.stderr, "")
        lines = run.stdout.splitlines()
        self.assertEqual(len(lines), 6)
        self.assertIn(f"| {first} | dc ", lines[3])
        self.assertIn("| ready ", lines[3])
        self.assertIn("| 00:00:01:30 | unlocked |", lines[3])
        self.assertIn("| in-use ", lines[4])
        self.assertIn("| locked ", lines[4])

    def test_list_of_one_node(self) -> None:
        """With all keys in JSON."""
        self.add_node()
        wanted = self.add_node(comment="held for tests")
        (row,) = self.rows(self.run_to_end("list", wanted, "--format", "json"))
        self.assertEqual((row["id"], row["comment"], row["age"]), (wanted, "held for tests", 90))

    def test_a_node_that_is_not_there(self) -> None:
        """Is a failure, in one line on standard error."""
        run = self.run_to_end("list", "0000000099")
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertEqual(run.stdout, "")
        self.assertEqual(
            run.stderr, "nodepool: there is no node 0000000099; nodepool list shows all\n"
        )

    def test_a_node_that_is_unreadable(self) -> None:
        """The reason is told, and the list goes on without it."""
        self.inspector.create(paths.node("0000000005"), b"{")
        run = self.run_to_end("list", "0000000005")
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("node 0000000005 is unreadable: not JSON", run.stderr)
        self.assertEqual(self.run_to_end("list").code, ExitCode.OK)

    def test_an_empty_zookeeper_has_empty_lists(self) -> None:
        """Right after the installation nothing is an error."""
        for verb in ("list", "request-list", "label-list"):
            run = self.run_to_end(verb, "--format", "json")
            self.assertEqual((run.code, self.rows(run)), (ExitCode.OK, []))

    def test_request_list(self) -> None:
        """Requests of all kinds of clients are shown."""
        self.inspector.create(
            paths.request("200-0000000001"),
            b'{"state": "requested", "requestor": "zuul", "node_types": ["a", "b"],'
            b' "relative_priority": 3, "event_id": "e1"}',
        )
        self.assertEqual(
            self.rows(self.run_to_end("request-list", "--format", "json")),
            [
                {
                    "id": "200-0000000001",
                    "relative_priority": 3,
                    "state": "requested",
                    "requestor": "zuul",
                    "node_types": ["a", "b"],
                    "nodes": [],
                    "declined_by": [],
                    "event_id": "e1",
                }
            ],
        )
        self.assertIn("| a,b ", self.run_to_end("request-list").stdout)

    def test_label_list(self) -> None:
        """What pools online offer, not what the configuration here says."""
        self.add_pool("fedora", "debian")
        self.assertEqual(
            self.run_to_end("label-list").stdout,
            "+--------+\n| Label  |\n+--------+\n| debian |\n| fedora |\n+--------+\n",
        )

    def test_info(self) -> None:
        """Images by build, and nodes, of one provider."""
        node_id = self.add_node(external_id="vm-7")
        self.add_node(provider="elsewhere")
        images = f"{paths.IMAGES}/debian-12/builds/0000000003/providers"
        self.inspector.create(f"{images}/dc/images/0000000001", b"{}")
        self.inspector.create(f"{images}/dc/images/lock")
        self.inspector.create(f"{images}/other/images/0000000001", b"{}")
        self.inspector.create(f"{paths.IMAGES}/debian-12/builds/lock")
        self.assertEqual(
            self.rows(self.run_to_end("info", "dc", "--format", "json")),
            {
                "provider": "dc",
                "images": [
                    {
                        "image_name": "debian-12",
                        "build_id": "0000000003",
                        "upload_ids": ["0000000001"],
                    }
                ],
                "nodes": [{"id": node_id, "server_id": "vm-7"}],
            },
        )
        text = self.run_to_end("info", "dc").stdout
        self.assertIn("| debian-12  | 0000000003 | 0000000001 |", text)
        self.assertIn(f"| {node_id} | vm-7      |", text)

    def test_looking_leaves_nothing_behind(self) -> None:
        """The session is closed in order."""
        run = self.run_to_end("list")
        self.assertEqual(self.inspector.ephemerals(run.client), ())
        self.assertEqual(self.inspector.watches, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
