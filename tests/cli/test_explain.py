"""``explain``, and what ``request`` is told while it waits; the test plays the launchers."""

from __future__ import annotations

import json
from typing import Any

import attrs

from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.explain.values import encode_answer
from nodepool_tx.model import LauncherComponent, NodeRequest, RequestState
from nodepool_tx.pools.explaining import Effect, NodeExplanation, PoolExplanation, Rule
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_component, encode_request
from tests.cli.stage import CommandLineTestCase, Run

WAITS = "waits for a free node with label debian at provider dc: 1 in use"
POOL = PoolExplanation(
    launcher="launcher",
    provider="dc",
    pool="rack",
    verdict=WAITS,
    rules=(
        Rule("labels", Effect.PASSED, "this pool has debian"),
        Rule("nodes", Effect.WAITS, WAITS, 999_940.0),
    ),
    nodes=(
        NodeExplanation("0000000001", ("debian",), "in-use", False, "in use for 5 min", "in use"),
    ),
    more_nodes=7,
    id="launcher-pool",
)


class ExplainTestCase(CommandLineTestCase):
    def add_launcher(self, hostname: str = "launcher") -> str:
        """A launcher that is online; what it is registered as."""
        launcher = LauncherComponent(kind="launcher", hostname=hostname, version="1.0")
        prefix = paths.component("launcher", hostname)
        path = self.inspector.create(prefix, encode_component(launcher), sequence=True)
        return path.rpartition("/")[2]

    def add_request(self, **fields: Any) -> str:
        request = NodeRequest(
            **{
                "state": RequestState.REQUESTED,
                "state_time": self.clock.seconds() - 60,
                "created_time": self.clock.seconds() - 60,
                "node_types": ("debian",),
                "requestor": "zuul",
                "tenant_name": "small",
                **fields,
            }
        )
        prefix = f"{paths.REQUESTS}/100-"
        path = self.inspector.create(prefix, encode_request(request), sequence=True)
        return path.rpartition("/")[2]

    def questions(self) -> list[str]:
        return [path for path in self.inspector.dump(paths.QUESTIONS) if path != paths.QUESTIONS]

    def answer_as(self, launcher: str, *pools: PoolExplanation) -> None:
        """Answer the one question there is."""
        (question,) = [path for path in self.questions() if path.count("/") == 3]
        self.inspector.create(f"{question}/{launcher}", encode_answer(pools))
        self.settle()


class ExplainTests(ExplainTestCase):
    def test_a_report(self) -> None:
        """The summary, then a table of rules and one of nodes for each pool."""
        self.add_pool()
        launcher = self.add_launcher()
        request_id = self.add_request()
        run = self.start("explain", request_id)
        self.assertIsNone(run.code)
        self.answer_as(launcher, POOL)
        self.assertEqual((run.code, run.stderr), (ExitCode.OK, ""))
        lines = run.stdout.splitlines()
        self.assertEqual(
            lines[:4],
            [
                f"request {request_id}: requested, for debian, age 00:00:01:00, requestor zuul, "
                "tenant small",
                WAITS,
                "",
                f"dc/rack (launcher launcher): {WAITS}",
            ],
        )
        self.assertRegex(run.stdout, r"\| labels +\| passed +\| this pool has debian +\| +\|")
        self.assertRegex(run.stdout, r"\| nodes +\| waits +\| waits for .+\| 00:00:01:00 \|")
        self.assertRegex(
            run.stdout, r"\| 0000000001 \| +\| debian \| in-use \| no +\| in use for 5 min +\|"
        )
        self.assertEqual(lines[-1], "and 7 more nodes")
        self.assertEqual(self.questions(), [])

    def test_pools_without_the_labels(self) -> None:
        """They share a line, as all that they say is that."""
        self.add_pool()
        launcher = self.add_launcher()
        run = self.start("explain", self.add_request())
        refuses = Rule("labels", Effect.REFUSED, "this pool has no debian, others have")
        others = [
            PoolExplanation("launcher", name, "main", refuses.words, (refuses,))
            for name in ("one", "two")
        ]
        self.answer_as(launcher, POOL, *others)
        self.assertTrue(run.stdout.endswith("\n\npools without its labels: one/main, two/main\n"))
        self.assertNotIn(refuses.words, run.stdout)

    def test_json(self) -> None:
        """What the web has."""
        self.add_pool()
        launcher = self.add_launcher()
        request_id = self.add_request()
        run = self.start("explain", request_id, "--format", "json")
        self.answer_as(launcher, POOL)
        found = json.loads(run.stdout)
        self.assertEqual((found["summary"], found["silent"]), (WAITS, []))
        self.assertEqual(found["request"]["id"], request_id)
        self.assertEqual(found["pools"][0]["rules"][0]["effect"], "passed")

    def test_launchers_that_do_not_answer(self) -> None:
        """They are named after two seconds, and judged by the configuration here."""
        self.add_pool()
        launcher = self.add_launcher()
        self.add_node("in-use", tenant_name="small")
        request_id = self.add_request()
        run = self.start("explain", request_id)
        self.pass_time(1.8)
        self.assertIsNone(run.code)
        self.pass_time(0.4)
        self.assertEqual(run.code, ExitCode.OK)
        self.assertIn("dc/rack (launcher launcher, not heard): ", run.stdout)
        self.assertIn("waits for 1 instances of tenant small's limit of 1: 1 used", run.stdout)
        self.assertTrue(run.stdout.endswith(f"no answer from: {launcher}\n"))

    def test_no_such_request(self) -> None:
        """It is said how to find those there are."""
        run = self.run_to_end("explain", "100-0000000099")
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertEqual(
            run.stderr,
            "nodepool: there is no request 100-0000000099; nodepool request-list shows all\n",
        )

    def test_requests_with_an_answer(self) -> None:
        """They are told as such."""
        self.add_pool()
        done = self.add_request(state=RequestState.FULFILLED, nodes=("0000000001",))
        run = self.run_to_end("explain", done)
        self.assertEqual(run.code, ExitCode.OK)
        self.assertIn("\nfulfilled 1 min 0 s ago with 0000000001, not taken yet\n", run.stdout)
        failed = self.add_request(state=RequestState.FAILED)
        run = self.run_to_end("explain", failed)
        self.assertIn("\nit failed 1 min 0 s ago: ", run.stdout)

    def test_hostile_names(self) -> None:
        """Whatever a request says of itself, the terminal shows it and does not obey."""
        self.add_pool()
        request_id = self.add_request(
            state=RequestState.FAILED, requestor="\x1b[2Jzuul\nX", node_types=("no\x1b]0;x\x07",)
        )
        run = self.run_to_end("explain", request_id)
        self.assertNotIn("\x1b", run.stdout)
        self.assertIn(r"requestor \x1b[2Jzuul\nX", run.stdout)

    def test_colours(self) -> None:
        """What holds it back stands out."""
        self.add_pool()
        launcher = self.add_launcher()
        run = self.start("explain", self.add_request(), "--color", "always")
        self.answer_as(launcher, POOL)
        self.assertIn("\x1b[35mwaits\x1b[0m", run.stdout)
        self.assertIn("\x1b[32mpassed\x1b[0m", run.stdout)

    def test_a_connection_that_breaks(self) -> None:
        """Ends with the code for that."""
        self.add_pool()
        self.add_launcher()
        run = self.start("explain", self.add_request())
        self.inspector.expire(run.client)
        self.settle()
        self.pass_time(1)
        self.assertEqual(run.code, ExitCode.NO_ZOOKEEPER)

    def test_ctrl_c(self) -> None:
        """Takes the question back."""
        self.add_pool()
        self.add_launcher()
        run = self.start("explain", self.add_request())
        self.assertEqual(len(self.questions()), 1)
        self.interrupt(run)
        self.assertEqual(run.code, ExitCode.INTERRUPTED)
        self.assertEqual(self.questions(), [])


class WaitingTests(ExplainTestCase):
    """``request`` asks while it waits."""

    def asked_times(self) -> int:
        return sum(path.count("/") == 3 for path in self.asked)

    def begin(self) -> Run:
        self.add_pool()
        self.launcher = self.add_launcher()
        self.add_node("in-use")
        self.asked: list[str] = []
        self.inspector.after(
            "create",
            lambda call: self.asked.extend(call.paths),
            path=lambda path: path.startswith(f"{paths.QUESTIONS}/"),
            times=None,
        )
        return self.start("request", "debian", "--timeout", "60")

    def test_it_says_what_the_launchers_say(self) -> None:
        """From the third second on, and asks at most every five."""
        run = self.begin()
        self.pass_time(1.9)
        self.assertEqual(self.questions(), [])
        self.pass_time(0.2)
        self.answer_as(self.launcher, POOL)
        self.pass_time(0.4)
        self.assertIn(f"  {WAITS}\n", run.stderr)
        self.assertEqual(self.asked_times(), 1)
        self.pass_time(4)
        self.assertEqual(self.asked_times(), 1)
        self.pass_time(1.5)
        self.assertEqual(self.asked_times(), 2)
        other = attrs.evolve(POOL, verdict="provider dc is drained since yesterday")
        self.answer_as(self.launcher, other)
        self.pass_time(0.4)
        self.assertIn("  provider dc is drained since yesterday\n", run.stderr)

    def test_nobody_answers(self) -> None:
        """Then it says what can be seen from here, as ever."""
        run = self.begin()
        self.pass_time(12)
        self.assertIn("1 node has label debian, on the way back\n", run.stderr)
        self.assertEqual(run.stderr.count(" s  "), 1, run.stderr)
        self.assertEqual(self.asked_times(), 2)
        self.assertEqual([path for path in self.questions() if path not in self.asked], [])

    def test_what_was_said_of_another_state_counts_no_more(self) -> None:
        """A request that was taken meanwhile does not wait for a free node."""
        run = self.begin()
        self.pass_time(2.1)
        self.answer_as(self.launcher, POOL)
        self.pass_time(0.4)
        self.answer(self.request(), RequestState.PENDING)
        self.pass_time(0.4)
        self.assertTrue(run.stderr.endswith("  a launcher is preparing the nodes\n"), run.stderr)

    def test_ctrl_c_takes_back_what_was_asked(self) -> None:
        """And the request."""
        run = self.begin()
        self.pass_time(2.1)
        self.assertEqual(len(self.questions()), 1)
        self.interrupt(run)
        self.assertEqual(run.code, ExitCode.INTERRUPTED)
        self.assertEqual((self.questions(), self.requests()), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_time_left(self) -> None:
        """The last thing the launchers said is the reason; nothing is left behind."""
        run = self.begin()
        self.pass_time(2.1)
        self.answer_as(self.launcher, POOL)
        self.pass_time(58)
        self.assertEqual(run.code, ExitCode.TIMED_OUT)
        self.assertEqual(self.questions(), [])

    def test_a_connection_that_breaks_while_asking(self) -> None:
        """It asks again later."""
        run = self.begin()
        self.pass_time(2.1)
        self.inspector.suspend(run.client)
        self.pass_time(1)
        self.inspector.resume(run.client)
        self.pass_time(7)
        self.answer_as(self.launcher, POOL)
        self.pass_time(0.4)
        self.assertIn(f"  {WAITS}\n", run.stderr)
