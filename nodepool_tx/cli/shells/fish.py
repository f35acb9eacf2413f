"""The script for fish, which is a list of what may stand where."""

from __future__ import annotations

from collections.abc import Iterable

from nodepool_tx.cli.shells.grammar import Argument, Grammar, Option

__all__ = ["script"]

_HEAD = """\
# fish completion for nodepool; load it with
#   nodepool completion fish | source

function __nodepool_values
    set -l words (commandline -opc)
    $words[1] complete-values $argv -- $words[2..] (commandline -ct) 2>/dev/null </dev/null
end

function __nodepool_no_verb
    not __fish_seen_subcommand_from $__nodepool_verbs
end

function __nodepool_verb
    __fish_seen_subcommand_from $argv
    and not contains -- -- (commandline -opc)
end
"""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _offer(argument: Argument) -> list[str]:
    """What ``complete`` is told of an argument."""
    if argument.choices:
        return ["-x", "-a", _quoted(" ".join(argument.choices))]
    if argument.kinds:
        return ["-x", "-a", _quoted(f"(__nodepool_values {' '.join(argument.kinds)})")]
    if argument.directories:
        return ["-x", "-a", "'(__fish_complete_directories)'"]
    return ["-r", "-F"] if argument.files else ["-x"]


def _option(condition: str, option: Option) -> str:
    words = ["complete", "-c", "nodepool"]
    if condition:
        words += ["-n", _quoted(condition)]
    for name in option.names:
        words += ["-l", name[2:]] if name.startswith("--") else ["-s", name[1:]]
    if option.argument is not None:
        words += _offer(option.argument)
    if option.help:
        words += ["-d", _quoted(option.help)]
    return " ".join(words)


def _lines(grammar: Grammar) -> Iterable[str]:
    yield "set -g __nodepool_verbs " + " ".join(verb.name for verb in grammar.verbs)
    yield _HEAD
    yield "complete -c nodepool -e"
    yield "complete -c nodepool -f"
    for option in grammar.everywhere:
        yield _option("", option)
    for option in grammar.first:
        yield _option("__nodepool_no_verb", option)
    for verb in grammar.verbs:
        yield (f"complete -c nodepool -n __nodepool_no_verb -a {verb.name} -d {_quoted(verb.help)}")
        condition = f"__nodepool_verb {verb.name}"
        for option in verb.options:
            yield _option(condition, option)
        for argument in verb.arguments:
            offer = ["-F"] if argument.files else _offer(argument)
            yield " ".join(["complete -c nodepool -n", _quoted(condition), *offer])


def script(grammar: Grammar) -> str:
    """What fish is to read."""
    return "\n".join(_lines(grammar)) + "\n"
