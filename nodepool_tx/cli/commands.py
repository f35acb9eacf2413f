"""All verbs of ``nodepool``, and how a command line is read."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence

from nodepool_tx import __version__
from nodepool_tx.cli import (
    changes,
    check,
    completion,
    explain,
    images,
    lists,
    maintenance,
    plan,
    request,
    validating,
)
from nodepool_tx.cli.options import Verbs, add_common
from nodepool_tx.cli.outcome import ExitCode

__all__ = ["FAMILIES", "known_verbs", "parse"]

#: Each heading of ``nodepool --help`` and what adds the verbs below it.
FAMILIES: tuple[tuple[str, Callable[[Verbs], None]], ...] = (
    ("look", lists.add_verbs),
    ("look", explain.add_verbs),
    ("use nodes", request.add_verbs),
    ("change nodes", changes.add_verbs),
    ("take out of service", maintenance.add_verbs),
    ("images", images.add_verbs),
    ("put right", check.add_verbs),
    ("configuration", validating.add_verbs),
    ("configuration", plan.add_verbs),
    ("shells", completion.add_verbs),
)

_EXIT_CODES = """\
exit codes:
  0  done
  1  it did not work: no such node, locked by somebody, request failed
  2  wrong arguments, or a configuration that cannot be used
  3  ZooKeeper does not answer
  124  no nodes, or not empty, before --timeout passed
  125  the ZooKeeper session ended while nodes were in use
  130  interrupted
  "request LABEL -- COMMAND" ends with the command's own code; with several
  nodes with the highest of them.

environment: NODEPOOL_CONFIG, NODEPOOL_SECURE, NODEPOOL_STATE_DIR and
NODEPOOL_IDENTITY stand for -c, -s, --state-dir and --identity.  NO_COLOR and
FORCE_COLOR say whether tables have colours.
"""

#: Seconds after ``--watch``; ids of nodes have ten digits.
_SECONDS = re.compile(r"\d{1,4}(\.\d+)?|\.\d+")


def _verbs(environ: Mapping[str, str]) -> Verbs:
    parser = argparse.ArgumentParser(
        prog="nodepool",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nodepool {__version__}")
    add_common(parser, environ)
    verbs = Verbs(parser, environ)
    for verbs.family, add_verbs in FAMILIES:
        add_verbs(verbs)
    parser.description = _description(verbs)
    return verbs


def _description(verbs: Verbs) -> str:
    """What the program is for, and its verbs by family."""
    lines = ["Looks at the nodes and requests in ZooKeeper, and works with them."]
    shown = [verb for verb in verbs.known.values() if not verb.hidden]
    width = max(len(verb.name) for verb in shown)
    for family in dict.fromkeys(verb.family for verb in shown):
        lines += ["", f"{family}:"]
        lines += [f"  {verb.name:{width}}  {verb.help}" for verb in shown if verb.family == family]
    return "\n".join(lines).replace("%", "%%")


def known_verbs() -> Verbs:
    """Every verb there is."""
    return _verbs({})


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the arguments.

    What stands after ``--`` is ``command``, ``known`` is the
    :class:`~nodepool_tx.cli.options.KnownVerb`, and ``verbs`` are all of them.

    :raises SystemExit: they are wrong, or ask for help or the version.
    """
    verbs = _verbs(environ)
    parser = verbs.parser
    words, command = list(argv), []
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    options = parser.parse_args(_joined(words))
    options.command, options.verbs = command, verbs
    if options.verb is None:
        parser.print_help()
        raise SystemExit(ExitCode.USAGE)
    options.known = known = verbs.known[options.verb]
    if not known.takes_command and command:
        parser.error(f"{options.verb} takes no command")
    if known.takes_command and "--" in argv and not command:
        parser.error("there is no command after --")
    if known.check is not None:
        known.check(parser, options)
    return options


def _joined(words: list[str]) -> list[str]:
    """Let ``--watch`` have only seconds after it, and no other argument."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--watch":
            seconds = _SECONDS.fullmatch(word)
            joined[-1] = f"--watch={word if seconds else 1}"
            if seconds:
                continue
        joined.append(word)
    return joined
