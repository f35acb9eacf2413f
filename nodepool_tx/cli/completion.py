"""``completion``: what makes a shell complete the words of ``nodepool``."""

from __future__ import annotations

import argparse

from nodepool_tx.cli.options import Verbs
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.cli.shells import bash, fish, zsh
from nodepool_tx.cli.shells.grammar import grammar_of
from nodepool_tx.cli.values import KINDS, complete_values
from nodepool_tx.cli.visit import World

__all__ = ["add_verbs"]

_SHELLS = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}


def add_verbs(verbs: Verbs) -> None:
    completion = verbs.add_local(
        "completion",
        "print a script that makes a shell complete these words",
        print_script,
        example="completion bash > /etc/bash_completion.d/nodepool",
    )
    completion.add_argument("shell", metavar="SHELL", choices=tuple(_SHELLS))
    values = verbs.add_local(
        "complete-values",
        "print names for shells to complete arguments with",
        complete_values,
        example="complete-values LABEL -- -c nodepool.yaml",
        takes_command=True,
        hidden=True,
    )
    values.add_argument("kinds", metavar="KIND", nargs="+", help=f"any of {', '.join(KINDS)}")


async def print_script(world: World, options: argparse.Namespace) -> int:
    """The script for one shell, of all the verbs there are."""
    text = _SHELLS[options.shell](grammar_of(options.verbs))
    world.terminal.result(text.removesuffix("\n"))
    return ExitCode.OK
