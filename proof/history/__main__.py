"""``python -m proof.history DIRECTORY...``: what has happened in a ZooKeeper, in words."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from proof.history.acts import Layout
from proof.history.cast import Cast
from proof.history.checker import ALL_RULES, Checker
from proof.history.logs import CommittedLog
from proof.history.story import Storyteller
from proof.history.tree import Step

#: Seconds between two looks at logs that are followed.
_INTERVAL = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a history; the exit status is 1 if it was to be checked and breaks a rule.

    Rules know nothing of what purged logs made, and may be wrong about it.
    """
    options = _parser().parse_args(arguments)
    cast, layout = Cast(), Layout(options.root)
    teller = Storyteller(cast, layout)

    def tell(step: Step) -> None:
        for path, line in teller.lines(step):
            if (path or "/").startswith(options.path):
                print(line)

    patience = 2.0 if options.follow else 0.0
    log = CommittedLog(options.directory, patience=patience)
    rules = ALL_RULES if options.check else ()
    checker = Checker(log, cast, rules, root=options.root, told=None if options.quiet else tell)
    violations = 0
    noted = False
    try:
        while True:
            for violation in checker.step():
                violations += 1
                print(f"VIOLATION of {violation.rule} in {violation.zxid:x}: {violation.words}")
                for line in checker.trail(violation):
                    print(f"    {line}")
            if not log.whole and not noted:
                noted = True
                print("note: older logs were purged; what they made is not known", file=sys.stderr)
            if not options.follow:
                break
            sys.stdout.flush()
            time.sleep(_INTERVAL)
    except KeyboardInterrupt:
        pass
    if options.check:
        print(f"{checker.transactions} transactions, {violations} violations")
    return 1 if violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proof.history", description=__doc__)
    parser.add_argument(
        "directory",
        type=Path,
        nargs="+",
        help="a data directory; of an ensemble, those of all servers",
    )
    parser.add_argument("--root", default="", help="the chroot that Nodepool's znodes are in")
    parser.add_argument("--path", default="/", help="show only znodes whose paths begin so")
    parser.add_argument("--check", action="store_true", help="apply the rules too")
    parser.add_argument("--quiet", action="store_true", help="show violations only")
    parser.add_argument("--follow", action="store_true", help="go on until interrupted")
    return parser


if __name__ == "__main__":
    sys.exit(main())
