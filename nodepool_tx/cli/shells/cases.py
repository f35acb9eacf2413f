"""The part of the script that bash and zsh share: ``case`` statements.

Both know ``case``, and the same patterns and quotes.  The rest of the script
offers functions: ``_nodepool_choices WORD...``, ``_nodepool_values KIND...``,
``_nodepool_files`` and ``_nodepool_directories``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from nodepool_tx.cli.shells.grammar import Argument, Grammar, Option, VerbGrammar

__all__ = ["arguments", "option_values", "valued"]


def _offer(argument: Argument) -> str:
    """The command that completes an argument; ``:`` where there is nothing to offer."""
    if argument.choices:
        return f"_nodepool_choices {shlex.join(argument.choices)}"
    offers = []
    if argument.kinds:
        offers.append(f"_nodepool_values {shlex.join(argument.kinds)}")
    if argument.files:
        offers.append("_nodepool_files")
    if argument.directories:
        offers.append("_nodepool_directories")
    return "; ".join(offers) or ":"


def _patterns(grammar: Grammar) -> Iterable[tuple[str, Option]]:
    """What matches ``"$verb $option"`` for each option, and the option."""
    for option in (*grammar.first, *grammar.everywhere):
        yield "|".join(f'*" {name}"' for name in option.names), option
    for verb in grammar.verbs:
        for option in verb.options:
            yield "|".join(f'"{verb.name} {name}"' for name in option.names), option


def valued(grammar: Grammar) -> str:
    """A pattern for options whose next word is their argument."""
    return "|".join(pattern for pattern, option in _patterns(grammar) if option.argument)


def option_values(grammar: Grammar, indent: str) -> str:
    """The branches that complete the argument of an option."""
    return "\n".join(
        f"{indent}{pattern}) {_offer(option.argument)}; return ;;"
        for pattern, option in _patterns(grammar)
        if option.argument
    )


def arguments(grammar: Grammar, indent: str) -> str:
    """The branches of ``"$verb $position"`` that complete what is no option."""
    return "\n".join(
        f"{indent}{pattern}) {_offer(argument)} ;;"
        for verb in grammar.verbs
        for pattern, argument in _positions(verb)
    )


def _positions(verb: VerbGrammar) -> Iterable[tuple[str, Argument]]:
    last = len(verb.arguments) - 1
    for number, argument in enumerate(verb.arguments):
        if number == last and verb.repeats:
            yield f'"{verb.name} "*', argument
        else:
            yield f'"{verb.name} {number}"', argument
