"""What may stand where on a command line, as shells need to know it.

Read from the parsers, so that a verb that is added is completed without
further ado.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

import attrs

from nodepool_tx.cli.options import Verbs
from nodepool_tx.cli.values import KINDS

__all__ = ["Argument", "Grammar", "Option", "VerbGrammar", "grammar_of"]

#: Metavars of paths.
_FILES = frozenset({"FILE", "PATH"})
_DIRECTORIES = frozenset({"DIR"})


@attrs.frozen
class Argument:
    """What an argument is completed with: at most one of these holds.

    :ivar kinds: of values that ``nodepool complete-values`` knows.
    """

    choices: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    files: bool = False
    directories: bool = False


@attrs.frozen
class Option:
    """An option with all its spellings.

    :ivar argument: None if it takes none, or need not have one.
    """

    names: tuple[str, ...]
    help: str
    argument: Argument | None


@attrs.frozen
class VerbGrammar:
    """A verb.

    :ivar options: its own; those that all verbs have are in the grammar.
    :ivar repeats: the last of the arguments may stand again and again.
    """

    name: str
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    repeats: bool


@attrs.frozen
class Grammar:
    """All verbs and what stands before them or after them.

    :ivar first: options that can only stand before a verb.
    :ivar everywhere: options that every verb has.
    """

    first: tuple[Option, ...]
    everywhere: tuple[Option, ...]
    verbs: tuple[VerbGrammar, ...]


def grammar_of(verbs: Verbs) -> Grammar:
    """What there is to complete."""
    top = _options(verbs.parser)
    shown = [verb for verb in verbs.known.values() if not verb.hidden]
    of_verbs = {verb.name: _options(verb.parser) for verb in shown}
    everywhere = [
        option
        for option in top
        if all(option.names in [one.names for one in own] for own in of_verbs.values())
    ]
    known = {option.names for option in everywhere}
    return Grammar(
        tuple(option for option in top if option.names not in known),
        tuple(everywhere),
        tuple(
            VerbGrammar(
                verb.name,
                verb.help,
                tuple(option for option in of_verbs[verb.name] if option.names not in known),
                *_arguments(verb.parser),
            )
            for verb in shown
        ),
    )


def _options(parser: argparse.ArgumentParser) -> list[Option]:
    return [
        Option(
            tuple(action.option_strings),
            _plain(action, parser),
            _argument(action) if action.nargs is None else None,
        )
        for action in _actions(parser)
        if action.option_strings
    ]


def _arguments(parser: argparse.ArgumentParser) -> tuple[tuple[Argument, ...], bool]:
    actions = [action for action in _actions(parser) if not action.option_strings]
    repeats = bool(actions) and actions[-1].nargs in ("+", "*")
    return tuple(map(_argument, actions)), repeats


def _actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    return [action for action in parser._actions if action.help != argparse.SUPPRESS]


def _argument(action: argparse.Action) -> Argument:
    if action.choices is not None:
        return Argument(choices=tuple(str(choice) for choice in action.choices))
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    names: Sequence[str] = metavar.split("|")
    if action.option_strings and metavar == "ID":
        # Of what it is an id, the option's name says.
        names = [action.dest.upper()]
    return Argument(
        kinds=tuple(name for name in names if name in KINDS),
        files=not _FILES.isdisjoint(names),
        directories=not _DIRECTORIES.isdisjoint(names),
    )


def _plain(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """The help of an option without what argparse fills in."""
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    return " ".join(text.split())
