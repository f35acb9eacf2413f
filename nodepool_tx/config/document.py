"""One file of the configuration while it is read, and its problems."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from nodepool_tx.config.errors import ConfigError, ConfigWarning, Problems
from nodepool_tx.config.source import ENV_REFERENCE, SourceFile, SourceText
from nodepool_tx.config.tree import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    TreeBuilder,
    Unreadable,
)

__all__ = ["Document", "printable"]

_CONTROL = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def printable(text: str, limit: int = 60) -> str:
    """Text of a file as it may stand in a message: one line, not endless."""
    shown = text if len(text) <= limit else text[:limit] + "..."
    return shown if shown.isprintable() else repr(shown)[1:-1]


class Document:
    """One file: its tree, and the way from a place in it to a problem.

    :ivar root: None when the text could not be parsed, or was empty.
    :ivar readable: whether the text could be parsed.
    :ivar show_values: whether messages may quote values: not those of the
        secure file, and not those that came from the environment.
    """

    def __init__(self, file: SourceFile, env: Mapping[str, str], problems: Problems) -> None:
        self.name = file.path
        self.problems = problems
        self.show_values = not file.secret
        self.readable = False
        self.root: Node | None = None
        self._source: SourceText | None = None
        text = self._decode(file)
        if text is None:
            return
        self._source = SourceText(text, env)
        self.show_values = self.show_values and not self._source.substituted
        self._parse(self._source.text)

    def error(self, index: int | None, path: str, message: str, hint: str | None = None) -> None:
        """Note an error at a character of the parsed text, or at the file."""
        line, column = self._place(index)
        self.problems.error(
            ConfigError(self.name, line, column, printable(path, 300), message, hint)
        )

    def warning(self, index: int | None, path: str, message: str, hint: str | None = None) -> None:
        """Note a warning at a character of the parsed text, or at the file."""
        line, column = self._place(index)
        self.problems.warning(
            ConfigWarning(self.name, line, column, printable(path, 300), message, hint)
        )

    def line_of(self, index: int) -> int:
        """The line a character of the parsed text comes from."""
        return self._place(index)[0]

    def _place(self, index: int | None) -> tuple[int, int]:
        if index is None or self._source is None:
            return 0, 0
        return self._source.position(index)

    def _decode(self, file: SourceFile) -> str | None:
        data = file.data
        if data is None:
            self.error(None, "", file.trouble or "cannot be read", file.hint)
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            at = error.start
        line = data.count(b"\n", 0, at) + 1
        column = at - data.rfind(b"\n", 0, at)
        message = f"is not text in UTF-8: byte 0x{data[at]:02x} at offset {at}"
        self.problems.error(ConfigError(self.name, line, column, "", message))
        return None

    def _parse(self, text: str) -> None:
        strange = _CONTROL.search(text)
        if strange is not None:
            code = f"U+{ord(strange.group()):04X}"
            self.error(strange.start(), "", f"is not text: {code} has no place in YAML")
            return
        try:
            self.root = TreeBuilder(text, self._repeated).build()
        except Unreadable as stop:
            self.error(stop.index, "", str(stop), stop.hint)
        except yaml.MarkedYAMLError as error:
            self._not_yaml(error)
        except yaml.YAMLError as error:
            self.error(None, "", f"is not valid YAML: {printable(str(error), 200)}")
        else:
            self.readable = True
            self._warn_unset(text)

    def _repeated(self, index: int, path: str, first: int) -> None:
        self.error(index, path, f"is given twice, first in line {self.line_of(first)}")

    def _not_yaml(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        index = None if mark is None else mark.index
        message = f"is not valid YAML: {error.problem or error.context}"
        if error.context and error.problem and error.context_mark is not None:
            line = self.line_of(error.context_mark.index)
            message += f", {error.context} that begins in line {line}"
        self.error(index, "", message, self._syntax_hint(index))

    def _syntax_hint(self, index: int | None) -> str | None:
        if index is None or self._source is None:
            return None
        text = self._source.text
        unset = ENV_REFERENCE.match(text, index)
        if unset is not None:
            return f"the environment variable {printable(unset.group(1))} is not set"
        at = text[index : index + 1]
        if at == "\t":
            return "YAML is indented with spaces and this is a tab"
        if at and at in "%@`*&":
            return f"text that begins with {at} needs quotes"
        return None

    def _warn_unset(self, text: str) -> None:
        """Say where a variable that is not set was left in the text as it is."""
        if self.root is None or ENV_REFERENCE.search(text) is None:
            return
        seen: set[int] = set()
        waiting: list[tuple[str, Node]] = [("", self.root)]
        while waiting:
            path, node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, ScalarNode):
                for name in ENV_REFERENCE.findall(node.text):
                    message = f"the environment variable {printable(name)} is not set"
                    self.warning(node.index, path, message, "the text is used as it is written")
            elif isinstance(node, SequenceNode):
                waiting.extend((f"{path}[{at}]", item) for at, item in enumerate(node.items))
            elif isinstance(node, MappingNode):
                for key, value in node.entries.values():
                    below = f"{path}.{key.text}" if path else key.text
                    waiting += ((below, key), (below, value))
