"""The words of the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence

from nodepool_tx import __version__
from nodepool_tx.cli.outcome import ExitCode

__all__ = ["DEFAULT_CONFIG", "DEFAULT_STATE_DIR", "parse"]

DEFAULT_CONFIG = "/etc/nodepool/nodepool.yaml"
DEFAULT_STATE_DIR = "/var/lib/nodepool"

_EPILOG = """\
exit codes:
  0  done
  1  it did not work: no such node, locked by somebody, request failed
  2  wrong arguments, or a configuration that cannot be used
  3  ZooKeeper does not answer
  124  no nodes before --timeout passed
  125  the ZooKeeper session ended while nodes were in use
  130  interrupted
  "request LABEL -- COMMAND" ends with the command's own code; with several
  nodes with the highest of them.

environment: NODEPOOL_CONFIG, NODEPOOL_SECURE, NODEPOOL_STATE_DIR and
NODEPOOL_IDENTITY stand for -c, -s, --state-dir and --identity.
"""


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return value


def _priority(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 999:
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 999")
    return value


def _add_common(parser: argparse.ArgumentParser, environ: Mapping[str, str] | None) -> None:
    """What may stand before the verb and after it; only the former has defaults."""

    def default(value: object) -> object:
        return argparse.SUPPRESS if environ is None else value

    known = environ or {}
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=default(known.get("NODEPOOL_CONFIG") or None),
        help=f"the launcher's configuration [{DEFAULT_CONFIG}]",
    )
    parser.add_argument(
        "-s",
        "--secure",
        metavar="FILE",
        default=default(known.get("NODEPOOL_SECURE") or None),
        help="the file with secrets, if there is one",
    )
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        default=default(known.get("NODEPOOL_STATE_DIR") or DEFAULT_STATE_DIR),
        help="where the launcher keeps the embedded ZooKeeper, used when the "
        f"configuration names no zookeeper-servers [{DEFAULT_STATE_DIR}]",
    )
    parser.add_argument(
        "--connect-timeout",
        metavar="SECONDS",
        type=_seconds,
        default=default(10.0),
        help="how long to try to reach ZooKeeper [10]",
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        default=default(False),
        help="write a log to standard error, and tracebacks",
    )


class _Verbs:
    """Adds verbs that all know the common options."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._common = argparse.ArgumentParser(add_help=False)
        _add_common(self._common, None)
        self._verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")

    def add(self, name: str, help: str, *, formats: bool = True) -> argparse.ArgumentParser:
        verb = self._verbs.add_parser(
            name, help=help, description=help[0].upper() + help[1:] + ".", parents=[self._common]
        )
        if formats:
            verb.add_argument(
                "--format",
                choices=("table", "json"),
                default="table",
                help="how to print [table]",
            )
        return verb


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nodepool",
        description="Looks at the nodes and requests in ZooKeeper, and works with them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nodepool {__version__}")
    _add_common(parser, environ)
    verbs = _Verbs(parser)

    nodes = verbs.add("list", "list nodes")
    nodes.add_argument("--detail", action="store_true", help="show more columns")
    nodes.add_argument("id", nargs="?", metavar="ID", help="only this node")
    verbs.add("request-list", "list node requests in the order of the queue")
    verbs.add("label-list", "list the labels that pools online offer")
    info = verbs.add("info", "show what ZooKeeper holds of a provider")
    info.add_argument("provider", metavar="PROVIDER")
    verbs.add("config-validate", "check the configuration", formats=False)

    delete = verbs.add("delete", "have a node deleted by its launcher")
    delete.add_argument("id", metavar="ID")
    delete.add_argument(
        "--now",
        action="store_true",
        help="wait until it is gone, and a static node until it is back in service",
    )
    hold = verbs.add("hold", "hold a node, so that nobody is given it")
    hold.add_argument("id", metavar="ID")
    hold.add_argument("--comment", metavar="TEXT", help="why, shown by list --detail")
    for verb in (delete, hold):
        verb.add_argument(
            "--timeout",
            metavar="SECONDS",
            type=_seconds,
            default=60.0 if verb is delete else 5.0,
            help="how long to wait, for a lock or with --now [%(default)g]",
        )

    request = verbs.add("request", "ask for nodes, use them and give them back")
    request.usage = "nodepool request [options] LABEL [LABEL ...] [-- COMMAND ...]"
    request.epilog = (
        "Without a command it shows how to log in and waits for Enter.  A command of one "
        "word is a line for the remote shell, several words arrive as they are."
    )
    request.add_argument("labels", nargs="+", metavar="LABEL", help="one node of each")
    request.add_argument(
        "--keep", action="store_true", help="hold the nodes and leave them, instead of waiting"
    )
    request.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        help="give up when there are no nodes by then",
    )
    request.add_argument("--tenant", metavar="NAME", help="in whose name, for tenants' limits")
    request.add_argument(
        "--priority",
        metavar="N",
        type=_priority,
        default=100,
        help="smaller goes first; Zuul has 100, 200 and 300 for pipelines of high, normal "
        "and low precedence [100]",
    )
    request.add_argument(
        "--identity",
        metavar="KEYFILE",
        default=environ.get("NODEPOOL_IDENTITY") or None,
        help="the private key for ssh, as ssh -i takes it",
    )
    return parser


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the arguments; what stands after ``--`` is :attr:`command`.

    :raises SystemExit: they are wrong, or ask for help or the version.
    """
    parser = _parser(environ)
    words, command = list(argv), []
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    options = parser.parse_args(words)
    options.command = command
    if options.verb is None:
        parser.print_help()
        raise SystemExit(ExitCode.USAGE)
    if options.verb != "request":
        if command:
            parser.error(f"{options.verb} takes no command")
        return options
    if "--" in argv and not command:
        parser.error("there is no command after --")
    if command and options.keep:
        parser.error("--keep leaves the nodes to you: run commands on them afterwards")
    if command and options.format == "json":
        parser.error("--format json has no place for a command's output")
    return options
