"""``delete`` and ``hold``."""

from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.model import NodeState
from nodepool_tx.store import paths
from tests.cli.stage import CommandLineTestCase


class HoldTests(CommandLineTestCase):
    def test_hold_keeps_a_node_from_everybody(self) -> None:
        """And shows the node as list does."""
        node_id = self.add_node()
        run = self.run_to_end("hold", node_id, "--comment", "disk looks bad")
        self.assertEqual(run.code, ExitCode.OK)
        self.assertIn(f"| {node_id} | dc ", run.stdout)
        self.assertIn("| hold  |", run.stdout)
        node = self.node(node_id)
        assert node is not None
        self.assertEqual((node.state, node.comment), (NodeState.HOLD, "disk looks bad"))
        self.assertEqual(node.state_time, self.clock.seconds())
        self.assertFalse(self.locked(node_id))

    def test_a_node_in_use_is_waited_for(self) -> None:
        """Its lock is respected, for as long as --timeout says."""
        node_id = self.add_node("in-use", requestor="zuul")
        contender = self.lock(node_id)
        run = self.start("hold", node_id)
        self.pass_time(3)
        self.assertIsNone(run.code)
        self.assertIn(f"node {node_id} is in-use and locked, waiting\n", run.stderr)
        self.inspector.delete(contender)
        self.settle()
        self.assertEqual(run.code, ExitCode.OK)

    def test_a_node_that_stays_locked(self) -> None:
        """Is left alone, and it is told whose it is."""
        node_id = self.add_node("in-use", requestor="zuul")
        self.lock(node_id)
        run = self.start("hold", node_id)
        self.pass_time(5.1)
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertTrue(
            run.stderr.endswith(
                f"nodepool: node {node_id} is in somebody's hands: it is locked and in-use, "
                "for zuul (waited 5 s)\n"
            ),
            run.stderr,
        )
        node = self.node(node_id)
        assert node is not None
        self.assertEqual(node.state, NodeState.IN_USE)

    def test_a_state_that_cannot_be_held(self) -> None:
        """A node that is being deleted comes back for nobody."""
        node_id = self.add_node("deleting")
        run = self.run_to_end("hold", node_id)
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("cannot go from deleting to hold", run.stderr)

    def test_no_such_node(self) -> None:
        """Told in the words of list."""
        run = self.run_to_end("hold", "0000000042")
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("there is no node 0000000042", run.stderr)


class DeleteTests(CommandLineTestCase):
    def test_delete_leaves_the_rest_to_the_launcher(self) -> None:
        """The node is marked, and shown."""
        node_id = self.add_node("hold")
        run = self.run_to_end("delete", node_id)
        self.assertEqual(run.code, ExitCode.OK)
        self.assertIn("| deleting |", run.stdout)
        node = self.node(node_id)
        assert node is not None
        self.assertEqual(node.state, NodeState.DELETING)

    def test_a_node_that_changes_meanwhile_is_looked_at_again(self) -> None:
        """The write carries the version that was read."""
        node_id = self.add_node()

        def touch(_: object) -> None:
            data = self.inspector.dump(paths.NODES)[paths.node(node_id)]
            self.inspector.set(paths.node(node_id), data)

        self.inspector.before("transaction", touch)
        run = self.run_to_end("delete", node_id)
        self.assertEqual(run.code, ExitCode.OK)

    def test_a_node_that_is_gone_before_the_write(self) -> None:
        """Is told to be gone."""
        node_id = self.add_node()
        self.inspector.before(
            "transaction", lambda _: self.inspector.delete_tree(paths.node(node_id))
        )
        run = self.run_to_end("delete", node_id)
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn(f"there is no node {node_id}", run.stderr)

    def test_now_waits_until_a_static_node_is_back(self) -> None:
        """Its machine is in the configuration, so it returns under a new id."""
        node_id = self.add_node()
        run = self.start("delete", node_id, "--now")
        self.assertIsNone(run.code)
        self.assertIn(f"node {node_id} is being deleted\n", run.stderr)
        successor = self.recycle(node_id)
        self.assertEqual(run.code, ExitCode.OK)
        self.assertIn(f"h1 is back in service as node {successor}\n", run.stderr)
        self.assertIn(f"| {successor} | dc ", run.stdout)

    def test_now_waits_no_longer_than_the_node_of_a_cloud_exists(self) -> None:
        """Nothing follows it."""
        node_id = self.add_node(provider="cloud")
        run = self.start("delete", node_id, "--now")
        self.inspector.delete_tree(paths.node(node_id))
        self.settle()
        self.assertEqual(run.code, ExitCode.OK)
        self.assertIn(f"node {node_id} is gone\n", run.stderr)

    def test_now_without_a_launcher(self) -> None:
        """Gives up, and says what is probably missing."""
        node_id = self.add_node()
        run = self.start("delete", node_id, "--now", "--timeout", "2")
        self.pass_time(2.1)
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("does a launcher with provider dc run? (waited 2 s)", run.stderr)

    def test_now_with_a_machine_that_does_not_come_back(self) -> None:
        """The launcher waits until it answers; we do not."""
        node_id = self.add_node()
        run = self.start("delete", node_id, "--now", "--timeout", "2")
        self.inspector.delete_tree(paths.node(node_id))
        self.pass_time(2.1)
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("h1 has not come back: can the launcher reach it?", run.stderr)
