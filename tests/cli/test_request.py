"""``request``, with the test in the part of the launcher."""

import json
import os
import re

import attrs

from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node
from tests.cli.stage import CommandLineTestCase, Run


class AskingTests(CommandLineTestCase):
    def test_the_request_is_one_that_any_launcher_understands(self) -> None:
        """Ephemeral, named by priority, with who asks and an id to find in logs."""
        self.add_pool()
        run = self.start("request", "debian", "debian", "--tenant", "small", "--priority", "7")
        request = self.request()
        self.assertRegex(request.id, r"^007-\d{10}$")
        self.assertEqual(request.state, RequestState.REQUESTED)
        self.assertEqual(request.node_types, ("debian", "debian"))
        self.assertEqual(request.tenant_name, "small")
        self.assertEqual(request.created_time, self.clock.seconds())
        self.assertRegex(request.requestor or "", r"^cli:.+@.+$")
        self.assertRegex(request.event_id or "", r"^[0-9a-f]{32}$")
        self.assertEqual(self.inspector.ephemerals(run.client), (paths.request(request.id),))
        self.assertEqual(
            run.stderr, f"request {request.id} for debian, debian, which dc/rack may serve\n"
        )

    def test_it_says_why_it_waits_and_when_that_changes(self) -> None:
        """Each reason is a line where there is no terminal."""
        self.add_pool()
        first = self.add_node("in-use")
        contender = self.lock(first)
        run = self.start("request", "debian")
        self.pass_time(0.5)
        self.assertIn("\n  0.3 s  1 node has label debian, in use\n", run.stderr)
        self.inspector.delete(contender)
        self.recycle(first)
        self.pass_time(0.5)
        self.assertIn("1 node has label debian, free\n", run.stderr)

    def test_a_misspelled_label_is_told_while_waiting(self) -> None:
        """It waits all the same: a launcher that has it may come."""
        self.add_pool("debian")
        run = self.start("request", "debain")
        self.pass_time(0.3)
        self.assertIn("the label 'debain' (did you mean debian?)", run.stderr)
        self.assertIsNone(run.code)

    def test_the_limits_of_the_configuration_are_taken_into_account(self) -> None:
        """As far as the command line can know them."""
        self.add_pool()
        self.add_node("in-use", tenant_name="small")
        self.add_node("ready")
        run = self.start("request", "debian", "--tenant", "small")
        self.pass_time(0.3)
        self.assertIn("tenant small uses 1 of its 1 instances\n", run.stderr)

    def test_no_nodes_in_time(self) -> None:
        """Ends with 124 and the reason, and takes the request back."""
        self.add_pool()
        self.add_node("hold")
        run = self.start("request", "debian", "--timeout", "5")
        self.pass_time(4.9)
        self.assertIsNone(run.code)
        self.pass_time(0.2)
        self.assertEqual(run.code, ExitCode.TIMED_OUT)
        self.assertTrue(
            run.stderr.endswith("nodepool: no nodes within 5 s: 1 node has label debian, held\n"),
            run.stderr,
        )
        self.assertEqual(self.requests(), [])

    def test_a_request_that_fails(self) -> None:
        """The likely cause is told."""
        pool = self.add_pool("fedora")
        run = self.start("request", "debian")
        self.answer(self.request(), RequestState.FAILED, declined_by=(pool.id,))
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("failed: every pool online has declined it; no pool online", run.stderr)
        self.assertEqual(self.requests(), [])

    def test_a_request_that_somebody_removes(self) -> None:
        """Is not waited for any longer."""
        run = self.start("request", "debian")
        self.inspector.delete(paths.request(self.request().id))
        self.settle()
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("was removed by somebody else", run.stderr)

    def test_ctrl_c_while_waiting_takes_the_request_back(self) -> None:
        """Nothing is left for the launcher to serve."""
        run = self.start("request", "debian")
        self.pass_time(0.3)
        self.interrupt(run)
        self.assertEqual(run.code, ExitCode.INTERRUPTED)
        self.assertEqual(self.requests(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_lost_connection_is_waited_for(self) -> None:
        """The session lives on, and so does the request."""
        self.add_pool()
        node_id = self.add_node()
        run = self.start("request", "debian", "--", "true")
        self.inspector.suspend(run.client)
        self.pass_time(1)
        self.assertIn("no connection to ZooKeeper, trying again\n", run.stderr)
        self.fulfil(node_id)
        self.inspector.resume(run.client)
        self.settle()
        self.assertEqual(len(self.children), 1)

    def test_a_session_that_ends_takes_the_request_with_it(self) -> None:
        """That is told, with a code of its own."""
        run = self.start("request", "debian")
        self.inspector.expire(run.client)
        self.settle()
        self.assertEqual(run.code, ExitCode.LOST)
        self.assertIn("the ZooKeeper session ended and the request with it", run.stderr)


class CommandTests(CommandLineTestCase):
    def run_on(self, *node_ids: str, labels: int = 0, interactive: bool = False) -> Run:
        self.add_pool()
        words = ["debian"] * (labels or len(node_ids))
        run = self.start("request", *words, "--", "make", "test it", interactive=interactive)
        self.clock.advance(1)
        self.fulfil(*node_ids)
        return run

    def test_the_nodes_are_taken_as_zuul_takes_them(self) -> None:
        """Locked and in use while the command runs, and the request is gone."""
        node_id = self.add_node()
        run = self.run_on(node_id)
        node = self.node(node_id)
        assert node is not None
        self.assertEqual(node.state, NodeState.IN_USE)
        self.assertEqual(node.state_time, self.clock.seconds())
        self.assertTrue(self.locked(node_id))
        self.assertEqual(self.requests(), [])
        self.assertIsNone(run.code)
        self.assertIn("ready after 1.00 s\n", run.stderr)

    def test_the_command_runs_over_ssh_with_the_nodes_keys(self) -> None:
        """And with the terminal's own streams, as there is one node."""
        self.run_on(self.add_node(), interactive=True)
        (child,) = self.children
        self.assertEqual(child.words[0], "ssh")
        self.assertEqual(list(child.words[-4:]), ["-p", "2222", "zuul@h1", "make 'test it'"])
        self.assertIn("StrictHostKeyChecking=yes", child.words)
        self.assertNotIn("BatchMode=yes", child.words)
        self.assertIn("-t", child.words)
        self.assertIsNone(child.on_line)
        (known_hosts,) = (w for w in child.words if w.startswith("UserKnownHostsFile="))
        with open(known_hosts.partition("=")[2]) as file:
            self.assertEqual(file.read(), "[h1]:2222 ssh-ed25519 AAAA\n")

    def test_ssh_asks_nothing_where_nobody_could_answer(self) -> None:
        """Without a terminal it fails instead of waiting."""
        self.run_on(self.add_node())
        self.assertIn("BatchMode=yes", self.children[0].words)
        self.assertNotIn("-t", self.children[0].words)

    def test_the_node_is_given_back_and_the_commands_code_is_ours(self) -> None:
        """Set used and unlocked: the launcher does the rest."""
        node_id = self.add_node()
        run = self.run_on(node_id)
        self.children[0].ended.callback(3)
        self.settle()
        self.assertEqual(run.code, 3)
        node = self.node(node_id)
        assert node is not None
        self.assertEqual(node.state, NodeState.USED)
        self.assertFalse(self.locked(node_id))
        self.assertTrue(run.stderr.endswith(f"gave back {node_id}\n"), run.stderr)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_several_nodes_run_it_one_after_the_other(self) -> None:
        """Each line says where it comes from, and the worst code counts."""
        first, second = self.add_node(), self.add_node("ready", "debian", hostname="h2")
        run = self.run_on(second, first)
        (child,) = self.children
        assert child.on_line is not None
        child.on_line("one\x1b[2J\tline\r")
        child.ended.callback(4)
        self.settle()
        self.assertIsNone(run.code)
        self.children[1].ended.callback(1)
        self.settle()
        self.assertEqual(run.code, 4)
        self.assertEqual(run.stdout, f"{second} h1 | one\\x1b[2J line\n")
        self.assertIn(f"running on node {second} of dc/rack, zuul@h1:2222\n", run.stderr)
        self.assertTrue(run.stderr.endswith(f"gave back {second}, {first}\n"))

    def test_ctrl_c_ends_the_command_and_gives_the_node_back(self) -> None:
        """In this order: the node is not another's while ssh still runs."""
        node_id = self.add_node()
        run = self.run_on(node_id)
        self.interrupt(run)
        self.assertTrue(self.children[0].asked_to_end)
        self.assertTrue(self.locked(node_id))
        self.children[0].ended.callback(255)
        self.settle()
        self.assertEqual(run.code, ExitCode.INTERRUPTED)
        self.assertFalse(self.locked(node_id))
        self.assertIn("gave back", run.stderr)

    def test_ctrl_c_while_a_node_is_given_back_does_not_prevent_it(self) -> None:
        """In a terminal ssh gets the signal too, and often ends before we hear of it."""
        node_id = self.add_node()
        run = self.run_on(node_id)
        self.children[0].ended.callback(255)
        self.assertTrue(self.locked(node_id))
        self.interrupt(run)
        self.assertEqual(run.code, ExitCode.INTERRUPTED)
        node = self.node(node_id)
        assert node is not None
        self.assertEqual(node.state, NodeState.USED)
        self.assertIn(f"gave back {node_id}\n", run.stderr)

    def test_a_command_that_will_not_end_is_left_after_a_while(self) -> None:
        """The node goes back all the same."""
        node_id = self.add_node()
        run = self.run_on(node_id)
        self.interrupt(run)
        self.pass_time(5.1)
        self.assertEqual(run.code, ExitCode.INTERRUPTED)
        self.assertFalse(self.locked(node_id))

    def test_the_end_of_the_session_ends_the_command_loudly(self) -> None:
        """The node is being given to others; going on would harm them."""
        node_id = self.add_node()
        run = self.run_on(node_id)
        self.inspector.expire(run.client)
        self.settle()
        self.assertTrue(self.children[0].asked_to_end)
        self.children[0].ended.callback(255)
        self.settle()
        self.assertEqual(run.code, ExitCode.LOST)
        self.assertIn(f"THE ZOOKEEPER SESSION ENDED: NODE {node_id}", run.stderr)
        self.assertNotIn("gave back", run.stderr)
        self.assertNotIn("still yours", run.stderr)

    def test_a_lost_connection_is_told_and_so_is_its_return(self) -> None:
        """With the time that is left."""
        run = self.run_on(self.add_node())
        self.inspector.suspend(run.client)
        self.settle()
        self.assertIn(
            "WARNING: no connection to ZooKeeper; without it the nodes are given", run.stderr
        )
        self.assertIn("after 10 s", run.stderr)
        self.inspector.resume(run.client)
        self.settle()
        self.assertIn("connected to ZooKeeper again: the nodes are still yours", run.stderr)

    def test_a_connection_that_stays_lost_is_told_again(self) -> None:
        """After the session's time others may have the nodes, though we cannot know."""
        run = self.run_on(self.add_node())
        self.inspector.suspend(run.client)
        self.pass_time(10.1)
        self.assertIn("somebody else may be using the nodes by now", run.stderr)
        self.inspector.resume(run.client)
        self.settle()
        self.assertTrue(self.children[0].asked_to_end)
        self.assertIn("NOT YOURS ANY MORE", run.stderr)

    def test_no_connection_to_give_nodes_back_over(self) -> None:
        """The command's code is told all the same; the session's end does the rest."""
        run = self.run_on(self.add_node())
        self.inspector.suspend(run.client)
        self.children[0].ended.callback(0)
        self.settle()
        self.pass_time(6)
        self.assertEqual(run.code, 0)
        self.assertIn("they go back by themselves", run.stderr)

    def test_a_node_that_is_not_reached_over_ssh(self) -> None:
        """Runs no command, and goes back."""
        node_id = self.add_node(connection_type="winrm")
        run = self.run_on(node_id)
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("its connection type is winrm", run.stderr)
        self.assertFalse(self.locked(node_id))

    def test_a_node_that_somebody_else_has_locked(self) -> None:
        """Is waited for as long as Zuul would wait."""
        self.add_pool()
        node_id = self.add_node()
        run = self.start("request", "debian", "--", "true")
        self.lock(node_id)
        self.fulfil(node_id)
        self.pass_time(29)
        self.assertIsNone(run.code)
        self.pass_time(2)
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("locked by somebody else for 30 s", run.stderr)
        self.assertEqual(self.requests(), [])

    def test_a_node_that_was_taken_away_before_we_locked_it(self) -> None:
        """Is not used."""
        self.add_pool()
        node_id = self.add_node()
        run = self.start("request", "debian", "--", "true")
        self.answer(self.request(), RequestState.FULFILLED, nodes=(node_id,))
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("not promised to us any more", run.stderr)
        self.assertEqual(self.children, [])
        self.assertFalse(self.locked(node_id))

    def test_a_node_that_changes_while_we_lock_it_is_read_again(self) -> None:
        """The write carries the version that was read."""
        self.add_pool()
        node_id = self.add_node()
        self.start("request", "debian", "--", "true")

        def change(_: object) -> None:
            node = self.node(node_id)
            assert node is not None
            self.inspector.set(
                paths.node(node_id), encode_node(attrs.evolve(node, comment="changed"))
            )

        self.inspector.before("transaction", change)
        self.fulfil(node_id)
        self.assertEqual(len(self.children), 1)
        node = self.node(node_id)
        assert node is not None
        self.assertEqual((node.state, node.comment), (NodeState.IN_USE, "changed"))


class WaitingTests(CommandLineTestCase):
    def test_without_a_command_it_shows_how_to_connect_and_waits(self) -> None:
        """A table, a line for each node to paste, and Enter gives the node back."""
        self.add_pool()
        node_id = self.add_node()
        run = self.start("request", "debian", "--identity", "/key")
        self.fulfil(node_id)
        self.assertIsNone(run.code)
        lines = run.stdout.splitlines()
        self.assertRegex(lines[3], rf"\| {node_id} \| debian \| dc +\| rack \| h1 +\| 2222 \| zuul")
        self.assertRegex(lines[5], r"^ssh .*-i /key .*-p 2222 zuul@h1$")
        self.assertIn("in use until you press Enter or Ctrl-C\n", run.stderr)
        self.enough.callback(None)
        self.settle()
        self.assertEqual(run.code, ExitCode.OK)
        self.assertFalse(self.locked(node_id))

    def test_nothing_to_wait_for(self) -> None:
        """With /dev/null as standard input only a signal ends it, and that is said."""
        self.add_pool()
        node_id = self.add_node()
        run = self.start("request", "debian", "--format", "json", listens=False)
        self.fulfil(node_id)
        self.assertIn(f"in use until this process ({os.getpid()}) is interrupted", run.stderr)
        self.interrupt(run)
        self.assertFalse(self.locked(node_id))

    def test_ctrl_c_gives_the_node_back_too(self) -> None:
        """It is what was announced, so it is no failure."""
        self.add_pool()
        node_id = self.add_node()
        run = self.start("request", "debian")
        self.fulfil(node_id)
        self.interrupt(run)
        self.assertEqual(run.code, ExitCode.OK)
        self.assertFalse(self.locked(node_id))

    def test_json_holds_all_a_program_needs(self) -> None:
        """One document on standard output."""
        self.add_pool()
        node_id = self.add_node()
        run = self.start("request", "debian", "--format", "json")
        request = self.fulfil(node_id)
        document = json.loads(run.stdout)
        self.assertEqual(document["request"], request.id)
        (node,) = document["nodes"]
        self.assertEqual((node["id"], node["host"], node["connection_port"]), (node_id, "h1", 2222))
        self.assertEqual((node["state"], node["locked"]), ("in-use", "locked"))
        self.assertEqual(node["host_keys"], ["ssh-ed25519 AAAA"])
        self.assertEqual(node["ssh"][-1], "zuul@h1")
        self.interrupt(run)

    def test_unknown_host_keys_are_pointed_out(self) -> None:
        """ssh will not be able to check them either."""
        self.add_pool()
        node_id = self.add_node(host_keys=())
        run = self.start("request", "debian")
        self.fulfil(node_id)
        self.assertIn(f"the host keys of node {node_id} are not known", run.stderr)
        self.assertIn("StrictHostKeyChecking=no", run.stdout)
        self.interrupt(run)

    def test_keep_holds_the_nodes_and_leaves(self) -> None:
        """With a comment of who and when, and the way to end it."""
        self.add_pool()
        node_id = self.add_node()
        run = self.start("request", "debian", "--keep")
        self.fulfil(node_id)
        self.assertEqual(run.code, ExitCode.OK)
        node = self.node(node_id)
        assert node is not None
        self.assertEqual(node.state, NodeState.HOLD)
        self.assertRegex(node.comment or "", r"^kept by .+@.+ since 1970-01-1\d \d\d:\d\d:\d\d ")
        self.assertFalse(self.locked(node_id))
        self.assertIn(f"give it back with: nodepool delete {node_id}\n", run.stderr)
        self.assertIn("zuul@h1", run.stdout)
        found = re.search(r"UserKnownHostsFile=(\S+)", run.stdout)
        assert found is not None
        with open(found[1]) as file:
            self.assertIn("AAAA", file.read())
