"""``--watch``, on a ZooKeeper in memory."""

import json

from twisted.internet.defer import Deferred

from nodepool_tx.cli import terminal
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.store import paths
from tests.cli.stage import CommandLineTestCase, Run


class WatchTests(CommandLineTestCase):
    def documents(self, run: Run) -> list[list[dict[str, object]]]:
        return [json.loads(line) for line in run.stdout.splitlines()]

    def test_each_change_is_a_line_of_json(self) -> None:
        """The first is what there is already."""
        run = self.start("list", "--watch", "--format", "json")
        node_id = self.add_node()
        self.pass_time(1.2)
        (before, after) = self.documents(run)
        self.assertEqual(before, [])
        self.assertEqual([row["id"] for row in after], [node_id])
        self.assertIsNone(run.code)

    def test_time_that_goes_by_is_no_change(self) -> None:
        """Nothing is printed because ages have grown."""
        self.add_node()
        run = self.start("list", "--watch", "--format", "json")
        self.pass_time(30)
        self.assertEqual(len(self.documents(run)), 1)
        self.add_node()
        self.pass_time(1.2)
        self.assertEqual([row["age"] for row in self.documents(run)[1]], [120.0, 90.0])

    def test_a_reader_that_goes_away_ends_it(self) -> None:
        """Soon, though nothing changes."""
        run = self.start("list", "--watch", "60", "--format", "json")
        self.pass_time(1.2)
        self.assertIsNone(run.code)
        self.patch(terminal, "_has_no_reader", lambda stream: True)
        self.pass_time(1.2)
        self.assertEqual(run.code, ExitCode.OK)

    def test_a_change_is_shown_at_once(self) -> None:
        """When the last one is long enough ago."""
        run = self.start("list", "--watch", "5", "--format", "json")
        self.pass_time(6)
        self.add_node()
        self.pass_time(0.1)
        self.assertEqual(len(self.documents(run)), 2)

    def test_many_changes_are_shown_together(self) -> None:
        """At most one document in the seconds asked for, and the last is never missed."""
        run = self.start("list", "--watch", "5", "--format", "json")
        for _ in range(8):
            self.add_node()
            self.pass_time(0.5)
        self.assertEqual(len(self.documents(run)), 1)
        self.pass_time(2)
        self.assertEqual([len(document) for document in self.documents(run)], [0, 8])

    def test_a_lock_is_a_change(self) -> None:
        """The list shows it."""
        node_id = self.add_node()
        run = self.start("list", "--watch", "--format", "json")
        self.lock(node_id)
        self.pass_time(1.2)
        self.assertEqual(
            [document[0]["locked"] for document in self.documents(run)], ["unlocked", "locked"]
        )

    def test_csv_and_tables_are_set_off_by_an_empty_line(self) -> None:
        """Where there is no terminal."""
        run = self.start("label-list", "--watch", "--format", "csv")
        table = self.start("label-list", "--watch")
        self.add_pool("debian")
        self.pass_time(1.2)
        self.assertEqual(run.stdout, "label\r\n\nlabel\r\ndebian\r\n")
        self.assertIn("+-------+\n\n+--------+\n", table.stdout)

    def test_every_list_can_be_watched(self) -> None:
        """Each hears of what it shows."""
        requests = self.start("request-list", "--watch", "--format", "json")
        info = self.start("info", "dc", "--watch", "--format", "json")
        images = f"{paths.IMAGES}/debian-12/builds/0000000003/providers/dc/images"
        self.inspector.create(f"{images}/0000000001", b"{}")
        self.inspector.create(paths.request("100-0000000001"), b'{"state": "requested"}')
        self.pass_time(1.2)
        self.assertEqual(len(self.documents(requests)[1]), 1)
        (_, after) = [json.loads(line) for line in info.stdout.splitlines()]
        self.assertEqual([image["build_id"] for image in after["images"]], ["0000000003"])

    def test_ctrl_c_is_the_usual_end(self) -> None:
        """So it is no failure, and nothing stays behind."""
        run = self.start("list", "--watch")
        self.interrupt(run)
        self.pass_time(1.2)
        self.assertEqual(run.code, ExitCode.OK)
        self.assertEqual(run.stderr, "")
        self.assertEqual(self.inspector.ephemerals(run.client), ())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_watched_goes_away(self) -> None:
        """Then there is nothing left to watch."""
        node_id = self.add_node()
        run = self.start("list", node_id, "--watch")
        self.inspector.delete_tree(paths.node(node_id))
        self.pass_time(1.2)
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn(f"there is no node {node_id}", run.stderr)

    def test_a_lost_connection_is_told_and_survived(self) -> None:
        """What was missed meanwhile is shown when it is back."""
        run = self.start("list", "--watch", "--format", "json")
        self.inspector.suspend(run.client)
        self.pass_time(2)
        self.assertEqual(run.stderr, "nodepool: no connection to ZooKeeper, trying again\n")
        self.add_node()
        self.pass_time(2)
        self.assertEqual(len(self.documents(run)), 1)
        self.inspector.resume(run.client)
        self.pass_time(2)
        self.assertIsNone(run.code)
        self.assertEqual([len(document) for document in self.documents(run)], [0, 1])
        self.assertEqual(run.stderr.splitlines()[1:], ["nodepool: connected to ZooKeeper again"])

    def test_an_ended_session_is_survived(self) -> None:
        """The next one reads everything again."""
        run = self.start("list", "--watch", "--format", "json")
        self.inspector.expire(run.client)
        self.add_node()
        self.pass_time(5)
        self.assertIsNone(run.code, run.stderr)
        self.assertEqual([len(document) for document in self.documents(run)], [0, 1])


class ScreenTests(CommandLineTestCase):
    def test_a_table_is_drawn_over_and_over(self) -> None:
        """From the top, with a line that says what it is and how to end it."""
        run = self.start("list", "--watch", "--color", "never", screen=True)
        self.assertTrue(run.stdout.startswith("\x1b[?7l\x1b[H\x1b[2Jnodepool list: "))
        self.assertIn("Ctrl-C ends\x1b[K\n", run.stdout)
        node_id = self.add_node()
        self.pass_time(1.2)
        screens = run.stdout.split("\x1b[H")[1:]
        self.assertIn(node_id, screens[-1])
        self.assertTrue(run.stdout.endswith("\x1b[J\x1b[?7h"))

    def test_ages_go_by(self) -> None:
        """From what is in memory; ZooKeeper is not asked."""
        self.add_node()
        run = self.start("list", "--watch", "2", screen=True)
        asked = self.inspector.requests.copy()
        self.pass_time(10.8)
        screens = run.stdout.split("\x1b[H")[1:]
        self.assertEqual(len(screens), 6)
        self.assertIn("00:00:01:30", screens[0])
        self.assertIn("00:00:01:40", screens[5])
        self.assertEqual(self.inspector.requests, asked)

    def test_a_long_table_is_cut(self) -> None:
        """Or its beginning would scroll away."""
        for _ in range(100):
            self.add_node()
        run = self.start("list", "--watch", screen=True)
        screen = run.stdout.split("\x1b[H")[-1]
        self.assertLess(screen.count("\n"), 60)
        shown = screen.count("ready")
        # The frame's last line is left out, too.
        self.assertIn(f"\n… {101 - shown} more lines\x1b[K\n", screen)

    def test_a_lost_connection_is_seen_on_the_screen(self) -> None:
        """With what was there, and since when."""
        node_id = self.add_node()
        run = self.start("list", "--watch", screen=True)
        self.inspector.suspend(run.client)
        self.pass_time(3)
        screen = run.stdout.split("\x1b[H")[-1]
        self.assertIn("no connection to ZooKeeper, trying again; as of ", screen)
        self.assertIn(node_id, screen)
        self.inspector.resume(run.client)
        self.pass_time(3)
        self.assertNotIn("no connection", run.stdout.split("\x1b[H")[-1])

    def test_programs_get_lines_even_on_a_terminal(self) -> None:
        """Their format says so."""
        run = self.start("list", "--watch", "--format", "json", screen=True)
        self.assertEqual(run.stdout, "[]\n")


class ReaderTests(CommandLineTestCase):
    def test_nobody_reads_any_more(self) -> None:
        """As with ``nodepool list --watch | head``: then it ends by itself."""
        run = self.start("list", "--watch", "--format", "json")

        def write(text: str) -> int:
            raise BrokenPipeError

        run.out.write = write  # type: ignore[method-assign]
        self.add_node()
        self.pass_time(3)
        self.assertEqual(run.code, ExitCode.OK)
        self.assertIsInstance(run.working, Deferred)
