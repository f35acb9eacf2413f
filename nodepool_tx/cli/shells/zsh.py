"""The script for zsh."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from string import Template

from nodepool_tx.cli.shells import cases
from nodepool_tx.cli.shells.grammar import Grammar, Option

__all__ = ["script"]

_SCRIPT = Template("""\
#compdef nodepool
# zsh completion for nodepool; put it into a directory of $$fpath as _nodepool,
# or load it after compinit with
#   source <(nodepool completion zsh)

_nodepool_choices() {
    compadd -- "$$@"
}

_nodepool_names() {
    "$${(Q)words[1]}" complete-values "$$@" -- "$${(@Q)words[2,-1]}" 2>/dev/null </dev/null
}

_nodepool_values() {
    local -a found
    found=("$${(@f)$$(_nodepool_names "$$@")}")
    compadd -- "$${found[@]:#}"
}

_nodepool_files() {
    _files
}

_nodepool_directories() {
    _files -/
}

_nodepool() {
    local verb="" prev="" word
    local -a offered
    integer i position=0
    for ((i = 2; i < CURRENT; i++)); do
        word=$${words[i]}
        if [[ $$word == -- ]]; then
            _default
            return
        fi
        case "$$verb $$word" in
            ($valued)
                prev=$$word
                ((++i < CURRENT)) && prev=""
                ;;
            (*" -"*) ;;
            (*) if [[ -z $$verb ]]; then verb=$$word; else ((position++)); fi ;;
        esac
    done
    if [[ -z $$prev && $${words[CURRENT]} == --*=* ]]; then
        prev=$${words[CURRENT]%%=*}
        compset -P '*='
    fi
    if [[ -n $$prev ]]; then
        case "$$verb $$prev" in
$option_values
        esac
        return
    fi
    if [[ $${words[CURRENT]} == -* ]]; then
        offered=(
$everywhere
        )
        case $$verb in
            ("") offered+=(
$first
            ) ;;
$options
        esac
        _describe -o option offered
        return
    fi
    case "$$verb $$position" in
        " 0")
            offered=(
$verbs
            )
            _describe verb offered
            ;;
$arguments
    esac
}

if [[ $${funcstack[1]} == _nodepool ]]; then
    _nodepool "$$@"
else
    compdef _nodepool nodepool
fi
""")


def _described(name: str, help: str) -> str:
    """A word of an array for ``_describe``, which splits it at the first colon."""
    return shlex.quote(f"{name}:{help}" if help else name)


def _options(options: Iterable[Option], indent: str) -> str:
    return "\n".join(
        indent + _described(name, option.help) for option in options for name in option.names
    )


def script(grammar: Grammar) -> str:
    """What zsh is to read."""
    return _SCRIPT.substitute(
        valued=cases.valued(grammar),
        option_values=cases.option_values(grammar, " " * 12),
        everywhere=_options(grammar.everywhere, " " * 12),
        first=_options(grammar.first, " " * 16),
        options="\n".join(
            f"            ({verb.name}) offered+=(\n{_options(verb.options, ' ' * 16)}\n"
            "            ) ;;"
            for verb in grammar.verbs
            if verb.options
        ),
        verbs="\n".join(" " * 16 + _described(verb.name, verb.help) for verb in grammar.verbs),
        arguments=cases.arguments(grammar, " " * 8),
    )
