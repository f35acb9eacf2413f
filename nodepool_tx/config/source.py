"""The bytes of the configuration's files, and the text that YAML gets to see.

``%(NODEPOOL_NAME)`` is replaced by the environment variable of that name
before the text is parsed, so a variable can stand for any piece of YAML.
Positions are translated back, so that an error still points into the file as
the operator sees it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from bisect import bisect_right
from collections.abc import Mapping

import attrs

__all__ = ["ENV_REFERENCE", "SourceFile", "SourceText", "Sources", "read_sources"]

#: A configuration larger than this is taken for a mistake.
MAX_BYTES = 64 * 1024 * 1024

ENV_REFERENCE = re.compile(r"%\((NODEPOOL_[^)\s]*)\)")


@attrs.frozen
class SourceFile:
    """One file as it was found: its bytes, or why there are none.

    :ivar secret: its values must not appear in messages.
    """

    path: str
    data: bytes | None
    trouble: str | None = None
    hint: str | None = None
    secret: bool = False


@attrs.frozen
class Sources:
    """Everything a configuration is made from, read but not looked at."""

    config: SourceFile
    secure: SourceFile | None = None

    @property
    def size(self) -> int:
        """Bytes in all files together: what parsing will cost."""
        return sum(len(file.data or b"") for file in self.files)

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """The files in the order in which they apply."""
        return (self.config,) if self.secure is None else (self.config, self.secure)

    @property
    def missing(self) -> bool:
        """At least one file could not be read."""
        return any(file.data is None for file in self.files)

    @property
    def digest(self) -> str:
        """Equal exactly when the content (or the reason for having none) is."""
        total = hashlib.sha256()
        for file in self.files:
            if file.data is None:
                part = b"-" + (file.trouble or "").encode()
            else:
                part = b"+" + file.data
            total.update(len(part).to_bytes(8, "big"))
            total.update(part)
        return total.hexdigest()


def read_sources(config: str, secure: str | None = None) -> Sources:
    """Read both files; trouble with one is noted in it, never raised."""
    return Sources(
        config=_read_file(config, secret=False),
        secure=None if secure is None else _read_file(secure, secret=True),
    )


def _read_file(path: str, *, secret: bool) -> SourceFile:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return SourceFile(path, None, "is a directory, not a file", secret=secret)
        with open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return SourceFile(path, None, "does not exist", secret=secret)
    except PermissionError:
        hint = f"this process runs as user id {os.geteuid()}"
        return SourceFile(path, None, "may not be read: permission denied", hint, secret=secret)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return SourceFile(path, None, f"cannot be read: {reason}", secret=secret)
    if len(data) > MAX_BYTES:
        limit = MAX_BYTES // (1024 * 1024)
        return SourceFile(path, None, f"is larger than {limit} MiB", secret=secret)
    return SourceFile(path, data, secret=secret)


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]


class SourceText:
    """Text with the environment filled in, and the way back from it.

    :ivar text: what the YAML parser reads.
    :ivar substituted: at least one variable was filled in; its value may be
        a secret, so values of this file do not belong into messages.
    """

    def __init__(self, original: str, env: Mapping[str, str]) -> None:
        self._original = original
        self._starts: list[int] | None = None
        #: Pieces of ``text``: where each begins there and in the original,
        #: and whether it was copied from there letter by letter.
        self._pieces: list[tuple[int, int, bool]] = []
        self.text = self._substitute(original, env)
        self.substituted = bool(self._pieces)

    def _substitute(self, original: str, env: Mapping[str, str]) -> str:
        out: list[str] = []
        length = copied = 0
        for match in ENV_REFERENCE.finditer(original):
            value = env.get(match.group(1))
            if value is None:
                continue
            literal = original[copied : match.start()]
            self._pieces.append((length, copied, True))
            self._pieces.append((length + len(literal), match.start(), False))
            out += (literal, value)
            length += len(literal) + len(value)
            copied = match.end()
        if not out:
            return original
        self._pieces.append((length, copied, True))
        out.append(original[copied:])
        return "".join(out)

    def position(self, index: int) -> tuple[int, int]:
        """Line and column in the file, from 1, of a character of ``text``."""
        if self._pieces:
            at = bisect_right(self._pieces, index, key=lambda piece: piece[0]) - 1
            begins, source, copied = self._pieces[at]
            index = source + (index - begins if copied else 0)
        if self._starts is None:
            self._starts = _line_starts(self._original)
        line = bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """One line of the original, counted from 1."""
        if self._starts is None:
            self._starts = _line_starts(self._original)
        if not 0 < number <= len(self._starts):
            return ""
        begin = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self._original)
        return self._original[begin:end].rstrip("\r\n")
