"""The script for bash."""

from __future__ import annotations

import shlex
from string import Template

from nodepool_tx.cli.shells import cases
from nodepool_tx.cli.shells.grammar import Grammar

__all__ = ["script"]

# Nothing that ZooKeeper holds is ever expanded: compgen -W would.
_SCRIPT = Template("""\
# bash completion for nodepool; load it with
#   source <(nodepool completion bash)

_nodepool_choices() {
    local word
    for word in "$$@"; do
        [[ $$word == "$$cur"* ]] && COMPREPLY+=("$$word")
    done
}

_nodepool_names() {
    "$${COMP_WORDS[0]}" complete-values "$$@" -- "$${COMP_WORDS[@]:1}" 2>/dev/null </dev/null
}

_nodepool_values() {
    local word
    while IFS= read -r word; do
        [[ $$word == "$$cur"* ]] && COMPREPLY+=("$$word")
    done < <(_nodepool_names "$$@")
}

_nodepool_files() {
    compopt -o filenames 2>/dev/null
    local word
    while IFS= read -r word; do COMPREPLY+=("$$word"); done < <(compgen -f -- "$$cur")
}

_nodepool_directories() {
    compopt -o filenames 2>/dev/null
    local word
    while IFS= read -r word; do COMPREPLY+=("$$word"); done < <(compgen -d -- "$$cur")
}

_nodepool() {
    local cur=$${COMP_WORDS[COMP_CWORD]} prev="" verb="" word i position=0
    COMPREPLY=()
    # Bash takes "--format=json" for three words.
    [[ $$cur == "=" ]] && cur=""
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=$${COMP_WORDS[i]}
        [[ $$word == "=" ]] && continue
        case $$word in
            --) compopt -o default 2>/dev/null; return ;;
        esac
        case "$$verb $$word" in
            $valued)
                prev=$$word
                [[ $${COMP_WORDS[i + 1]} == "=" ]] && ((i++))
                ((++i < COMP_CWORD)) && prev=""
                ;;
            *" -"*) ;;
            *) if [[ -z $$verb ]]; then verb=$$word; else ((position++)); fi ;;
        esac
    done
    if [[ -n $$prev ]]; then
        case "$$verb $$prev" in
$option_values
        esac
        return
    fi
    if [[ $$cur == -* ]]; then
        _nodepool_choices $everywhere
        case $$verb in
            "") _nodepool_choices $first ;;
$options
        esac
        return
    fi
    case "$$verb $$position" in
        " 0") _nodepool_choices $verbs ;;
$arguments
    esac
}

complete -F _nodepool nodepool
""")


def script(grammar: Grammar) -> str:
    """What bash is to read."""

    def names(options: object) -> str:
        assert isinstance(options, tuple)
        return shlex.join(name for option in options for name in option.names)

    return _SCRIPT.substitute(
        valued=cases.valued(grammar),
        option_values=cases.option_values(grammar, " " * 12),
        everywhere=names(grammar.everywhere),
        first=names(grammar.first),
        options="\n".join(
            f"            {verb.name}) _nodepool_choices {names(verb.options)} ;;"
            for verb in grammar.verbs
            if verb.options
        ),
        verbs=shlex.join(verb.name for verb in grammar.verbs),
        arguments=cases.arguments(grammar, " " * 8),
    )
