"""Completion: values from configuration and ZooKeeper, and the scripts in real shells."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from kazoo.exceptions import ConnectionLoss

from nodepool_tx.cli.commands import known_verbs
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.cli.shells import bash, fish, zsh
from nodepool_tx.cli.shells.grammar import grammar_of
from nodepool_tx.store import paths
from tests.cli.stage import CONFIG, CommandLineTestCase


class ValueTests(CommandLineTestCase):
    def values(self, *words: str) -> list[str]:
        run = self.run_to_end("complete-values", *words)
        self.assertEqual((run.code, run.stderr), (ExitCode.OK, ""))
        return run.stdout.splitlines()

    def test_names_of_the_configuration(self) -> None:
        """Need no ZooKeeper."""
        self.assertEqual(self.values("PROVIDER"), ["dc"])
        self.assertEqual(self.values("LABEL"), ["debian"])
        self.assertEqual(self.values("TENANT"), ["small"])
        self.assertEqual(self.values("HOST", "PROVIDER"), ["dc", "h1"])

    def test_ids_are_those_in_zookeeper(self) -> None:
        """Of nodes, requests and builds."""
        node_id = self.add_node()
        self.inspector.create(paths.request("100-0000000001"), b"{}")
        self.inspector.create(f"{paths.IMAGES}/debian-12/builds/0000000003/providers")
        self.inspector.create(f"{paths.IMAGES}/debian-12/builds/lock")
        self.assertEqual(self.values("ID"), [node_id])
        self.assertEqual(self.values("REQUEST"), ["100-0000000001"])
        self.assertEqual(self.values("IMAGE"), ["debian-12"])
        self.assertEqual(self.values("BUILD_ID"), ["0000000003"])
        self.assertEqual(self.values("IMAGE-BUILD"), ["debian-12-0000000003"])

    def test_an_empty_zookeeper_has_no_ids(self) -> None:
        """And that is fine."""
        self.assertEqual(self.values("ID"), [])

    def test_pools_online_stand_for_a_configuration_that_says_nothing(self) -> None:
        """As on a machine without the launcher's whole configuration."""
        self.config.write_text("zookeeper-servers: [{host: zk.example}]\n")
        self.add_pool("fedora")
        self.assertEqual(self.values("LABEL"), ["fedora"])
        self.assertEqual(self.values("PROVIDER"), ["dc"])

    def test_the_line_that_is_typed_says_where_to_look(self) -> None:
        """In all the ways options can be written, complete or not."""
        other = self.config.with_name("other.yaml")
        other.write_text(CONFIG.replace("debian", "suse"))
        for typed in (
            ["-c", str(other), "request"],
            ["request", "--config", str(other)],
            ["request", f"--config={other}", "-c"],
            ["request", "--config", "=", str(other)],
        ):
            self.assertEqual(self.values("LABEL", "--", *typed), ["suse"])

    def test_names_that_shells_could_take_for_something_else_are_left_out(self) -> None:
        """Whoever wrote them into ZooKeeper."""
        self.config.write_text("zookeeper-servers: [{host: zk.example}]\n")
        self.add_pool("good-1.2", "$(reboot)", "a b", "`x`", "a;b", "näh")
        self.assertEqual(self.values("LABEL"), ["good-1.2"])

    def test_trouble_is_silent(self) -> None:
        """Nobody wants to read it in a prompt."""
        self.inspector.before("get_children", lambda call: _break(), times=None)
        self.assertEqual(self.values("ID"), [])
        self.config.write_text("labels: nonsense\n")
        self.assertEqual(self.values("LABEL"), [])
        self.assertEqual(self.values("NONSENSE"), [])

    def test_it_takes_no_longer_than_patience_lasts(self) -> None:
        """A ZooKeeper that does not answer is given up."""
        run = self.start("complete-values", "ID", reachable=False)
        self.pass_time(3)
        self.assertEqual((run.code, run.stdout, run.stderr), (ExitCode.OK, "", ""))


def _break() -> None:
    raise ConnectionLoss()


# -- scripts -----------------------------------------------------------------


def test_scripts_name_every_verb_and_option() -> None:
    """And none that is for programs."""
    grammar = grammar_of(known_verbs())
    for script in (bash.script(grammar), zsh.script(grammar), fish.script(grammar)):
        for verb in grammar.verbs:
            assert verb.name in script
            for option in verb.options:
                assert option.names[-1].lstrip("-") in script
        assert " complete-values " not in " ".join(verb.name for verb in grammar.verbs)


def test_ids_of_images_are_not_those_of_nodes() -> None:
    """The name of an option says of what its ID is."""
    verbs = {verb.name: verb for verb in grammar_of(known_verbs()).verbs}
    assert verbs["list"].arguments[0].kinds == ("ID",)
    options = {option.names[0]: option.argument for option in verbs["image-delete"].options}
    build = options["--build-id"]
    assert build is not None
    assert build.kinds == ("BUILD_ID",)


_BASH = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_nodepool
((${#COMPREPLY[@]})) && printf '%s\\n' "${COMPREPLY[@]}"
exit 0
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("completion") / "nodepool.bash"
    path.write_text(bash.script(grammar_of(known_verbs())))
    return path


def completed(script: pathlib.Path, *words: str, program: str = "nodepool") -> list[str]:
    """What a real bash offers for the last of these words."""
    answer = subprocess.run(
        ["bash", "--norc", "-u", "-c", _BASH, "bash", str(script), program, *words],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=script.parent,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["reques"], ["request-list", "request"]),
        (["list", "--form"], ["--format"]),
        (["list", "--format", ""], ["table", "json", "csv"]),
        (["list", "--format", "=", "j"], ["json"]),
        (["list", "--format", "="], ["table", "json", "csv"]),
        (["--color", "a"], ["auto", "always"]),
        (["-c", "list", "hol"], ["hold"]),
        (["--color", "never", "--debug", "label"], ["label-list"]),
        (["--color", "=", "never", "label"], ["label-list"]),
        (["list", "--watch", "--det"], ["--detail"]),
        (["--vers"], ["--version"]),
        (["list", "--vers"], []),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["request", "a", "--", "--form"], []),
        (["-c", "nodepool.b"], ["nodepool.bash"]),
        (["hold", "--timeout", ""], []),
        (["complete-v"], []),
    ],
)
def test_bash_completes(script: pathlib.Path, words: list[str], offered: list[str]) -> None:
    """What the word before asks for, or an option, a verb, or an argument of the verb."""
    assert completed(script, *words) == offered


def test_bash_completes_names(script: pathlib.Path) -> None:
    """It runs the very program that is typed, with the configuration that is typed."""
    program = script.parent / "nodepool"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom nodepool_tx.cli.main import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    config = script.parent / "nodepool.yaml"
    config.write_text(CONFIG)
    labels = completed(script, "-c", str(config), "request", "d", program=str(program))
    assert labels == ["debian"]
    assert completed(script, "-c", str(config), "request", "x", program=str(program)) == []


def test_bash_expands_nothing_that_it_is_offered(script: pathlib.Path) -> None:
    """Were the program ever to print such a name."""
    program = script.parent / "careless"
    program.write_text("#!/bin/sh\necho '$(touch owned)'\n")
    program.chmod(0o755)
    assert completed(script, "request", "", program=str(program)) == ["$(touch owned)"]
    assert not os.path.exists(script.parent / "owned")
