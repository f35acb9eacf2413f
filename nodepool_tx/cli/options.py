"""The words of the command line: what verbs are made of.

How a family of verbs is added
------------------------------

A family is a module with a function that adds its verbs::

    def add_verbs(verbs: Verbs) -> None:
        drain = verbs.add(
            "drain",
            "take a host or a provider out of service",
            drain_target,
            example="drain node17.example.org",
        )
        drain.add_argument("target", metavar="HOST|PROVIDER")

and a line in ``FAMILIES`` of :mod:`nodepool_tx.cli.commands` that gives it the
heading under which ``nodepool --help`` shows its verbs.  That is all: the
common options, ``--format``, shell completion, exit codes of errors and
signals come with it.

- :meth:`Verbs.add_list` for what shows rows: the function returns a
  :class:`~nodepool_tx.cli.showing.Listing` (a report), and has ``--format``,
  ``--color`` and ``--watch``.
- :meth:`Verbs.add` for what works with ZooKeeper: an ``async`` function of a
  :class:`~nodepool_tx.cli.visit.Visit` that returns the exit code.  It finds
  the arguments in ``visit.options`` and the configuration, if there is one, in
  ``visit.config``.  It shows a report with
  :func:`nodepool_tx.cli.showing.show`.
- :meth:`Verbs.add_local` for what needs no ZooKeeper: an ``async`` function of
  the :class:`~nodepool_tx.cli.visit.World` and the arguments.

A verb that fails raises :class:`~nodepool_tx.cli.outcome.Complaint`.

The metavar of an argument says what shells complete it with: ``FILE``,
``DIR``, and names that :data:`nodepool_tx.cli.values.KINDS` has, such as
``PROVIDER``; ``HOST|PROVIDER`` means either.  Choices complete by themselves.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs

from nodepool_tx.cli.showing import View, viewing
from nodepool_tx.cli.target import DEFAULT_CONFIG, DEFAULT_STATE_DIR
from nodepool_tx.cli.visit import Verb, World

__all__ = ["FORMATS", "KnownVerb", "LocalVerb", "Verbs", "add_common", "positive_seconds"]

#: How rows can be printed.
FORMATS = ("table", "json", "csv")

#: A verb that finds what it needs without ZooKeeper.
LocalVerb = Callable[[World, argparse.Namespace], Awaitable[int]]

#: Ends with :meth:`argparse.ArgumentParser.error` if options do not fit together.
Check = Callable[[argparse.ArgumentParser, argparse.Namespace], None]


def positive_seconds(text: str) -> float:
    """A type for arguments that are durations."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return value


def add_common(parser: argparse.ArgumentParser, environ: Mapping[str, str] | None) -> None:
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
        type=positive_seconds,
        default=default(10.0),
        help="how long to try to reach ZooKeeper [10]",
    )
    parser.add_argument(
        "--color",
        "--colour",
        choices=("auto", "always", "never"),
        default=default("auto"),
        help="whether tables have colours [auto: on a terminal]",
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        default=default(False),
        help="write a log to standard error, and tracebacks",
    )
    # Scripts made for Nodepool 11 may name a file that configures its logging.
    parser.add_argument(
        "-l", dest="ignored", metavar="FILE", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


@attrs.frozen(kw_only=True)
class KnownVerb:
    """A verb, what it does, and how its arguments are read.

    :ivar does: with ZooKeeper; None for a local one.
    :ivar example: its arguments in a case that shows its use.
    :ivar takes_command: what stands after ``--`` is for it.
    :ivar hidden: for programs: neither ``--help`` nor completion shows it.
    """

    name: str
    help: str
    family: str
    parser: argparse.ArgumentParser
    example: str
    does: Verb | None = None
    local: LocalVerb | None = None
    check: Check | None = None
    takes_command: bool = False
    hidden: bool = False


class Verbs:
    """Adds verbs that all know the common options.

    :ivar known: those that were added, in their order.
    :ivar family: the heading for those that are added next.
    """

    def __init__(self, parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
        self.parser = parser
        self.environ = environ
        self.family = ""
        self.known: dict[str, KnownVerb] = {}
        self._common = argparse.ArgumentParser(add_help=False)
        add_common(self._common, None)
        self._verbs = parser.add_subparsers(
            dest="verb", metavar="VERB", help="one of those above; VERB --help tells more"
        )

    def add(
        self,
        name: str,
        help: str,
        does: Verb,
        *,
        example: str,
        formats: Sequence[str] = FORMATS,
        **more: Any,
    ) -> argparse.ArgumentParser:
        """A verb that works with ZooKeeper; the parser to add its arguments to.

        :param help: what it does, as the end of "nodepool NAME will …".
        :param example: a command line that shows its use, without the program.
        :param formats: what ``--format`` offers; nothing for no such option.
        :param more: further fields of :class:`KnownVerb`.
        """
        return self._add(name, help, example, formats, does=does, **more)

    def add_list(
        self, name: str, help: str, view: View, *, example: str, **more: Any
    ) -> argparse.ArgumentParser:
        """A verb that shows rows, once or as they change."""
        parser = self._add(name, help, example, FORMATS, does=viewing(view), **more)
        parser.add_argument(
            "--watch",
            nargs="?",
            const=1.0,
            default=None,
            metavar="SECONDS",
            type=positive_seconds,
            help="go on and show every change, at most one in so many seconds [1]",
        )
        return parser

    def add_local(
        self,
        name: str,
        help: str,
        local: LocalVerb,
        *,
        example: str,
        formats: Sequence[str] = (),
        **more: Any,
    ) -> argparse.ArgumentParser:
        """A verb that needs no ZooKeeper."""
        return self._add(name, help, example, formats, local=local, **more)

    def _add(
        self, name: str, help: str, example: str, formats: Sequence[str], **more: Any
    ) -> argparse.ArgumentParser:
        parser = self._verbs.add_parser(
            name,
            description=help[0].upper() + help[1:] + ".",
            epilog=f"example:\n  nodepool {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[self._common],
        )
        if formats:
            parser.add_argument(
                "--format", choices=tuple(formats), default="table", help="how to print [table]"
            )
        self.known[name] = KnownVerb(
            name=name,
            help=help,
            family=self.family,
            parser=parser,
            example=example,
            **more,
        )
        return parser
