"""The exit codes that all verbs have in common, tried on each of them.

What is particular to a verb is tried where the verb is.
"""

from __future__ import annotations

import re
import shlex

import pytest

from nodepool_tx.cli.commands import FAMILIES, known_verbs, parse
from nodepool_tx.cli.outcome import ExitCode
from tests.cli.stage import CommandLineTestCase

KNOWN = known_verbs().known
LOCAL = {name for name, verb in KNOWN.items() if verb.local is not None}
WITH_ZOOKEEPER = sorted(KNOWN.keys() - LOCAL)


def example(verb: str) -> list[str]:
    """The words of the verb's example, without where its output goes."""
    return shlex.split(KNOWN[verb].example.partition(" > ")[0])


@pytest.mark.parametrize("verb", sorted(KNOWN))
def test_help_has_an_example_that_works(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 for help, and the example is a line that is understood."""
    with pytest.raises(SystemExit) as left:
        parse([verb, "--help"], {})
    assert left.value.code == ExitCode.OK
    assert f"example:\n  nodepool {KNOWN[verb].example}\n" in capsys.readouterr().out
    assert parse(example(verb), {}).verb == verb


@pytest.mark.parametrize("verb", sorted(KNOWN))
def test_wrong_arguments(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the usage of that verb."""
    with pytest.raises(SystemExit) as left:
        parse([verb, "--no-such-option"], {})
    assert left.value.code == ExitCode.USAGE
    assert "usage: nodepool" in capsys.readouterr().err


def test_help_names_every_verb_below_its_family(capsys: pytest.CaptureFixture[str]) -> None:
    """But for those that are for programs."""
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    said = capsys.readouterr().out
    for family, _ in FAMILIES:
        assert f"\n{family}:\n" in said
    for name, verb in KNOWN.items():
        listed = re.search(rf"^  {name} +\S", said, re.MULTILINE)
        assert bool(listed) is not verb.hidden, name


def test_every_exit_code_is_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    """With what it means."""
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    said = capsys.readouterr().out
    for code in ExitCode:
        assert re.search(rf"^  {int(code)}  \S", said, re.MULTILINE), code


class EveryVerbTests(CommandLineTestCase):
    def test_zookeeper_that_does_not_answer(self) -> None:
        """Exit code 3, and one line."""
        for verb in WITH_ZOOKEEPER:
            run = self.start("--connect-timeout", "1", *example(verb), reachable=False)
            self.pass_time(1.2)
            self.assertEqual(run.code, ExitCode.NO_ZOOKEEPER, verb)
            self.assertEqual(run.stdout, "", verb)
            self.assertRegex(run.stderr, r"\Anodepool: cannot reach ZooKeeper .*\n\Z", verb)

    def test_a_configuration_that_cannot_be_used(self) -> None:
        """Exit code 2, and the first error with its place."""
        self.config.write_text("labels: nonsense\n")
        for verb in WITH_ZOOKEEPER:
            run = self.run_to_end(*example(verb))
            self.assertEqual(run.code, ExitCode.USAGE, verb)
            self.assertEqual(run.stdout, "", verb)
            self.assertIn(f"nodepool: {self.config}:1:9: ", run.stderr, verb)

    def test_an_interrupt(self) -> None:
        """Exit code 130 while nothing has been done yet, and nothing stays behind."""
        for verb in WITH_ZOOKEEPER:
            run = self.start(*example(verb), reachable=False)
            self.interrupt(run)
            self.pass_time(6)
            self.assertEqual(run.code, ExitCode.INTERRUPTED, verb)
            self.assertEqual(self.clock.getDelayedCalls(), [], verb)

    def test_lists_of_nothing(self) -> None:
        """Exit code 0: right after the installation nothing is an error."""
        for verb in ("list", "request-list", "label-list", "info dc"):
            for format in ("table", "json", "csv"):
                run = self.run_to_end(*verb.split(), "--format", format)
                self.assertEqual((run.code, run.stderr), (ExitCode.OK, ""), verb)
