"""What is wrong with a configuration, and where.

Reading never stops at the first mistake: everything found is collected in a
:class:`Problems` and raised together, so that an operator can mend a file in
one edit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, TypeVar

import attrs

__all__ = ["ConfigError", "ConfigErrors", "ConfigWarning", "Problems"]

#: More than this many errors help nobody; the rest is only counted.
MAX_ERRORS = 200


@attrs.frozen
class Problem:
    """One thing to say about one place of a file.

    :ivar line: counted from 1; 0 when it is about the file as a whole.
    :ivar column: counted from 1; 0 when it is about the file as a whole.
    :ivar path: where in the structure, such as ``providers[0].pools[1].name``;
        empty for the document itself.
    :ivar hint: what to do about it, when that can be told.
    """

    _kind: ClassVar[str] = ""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = ": ".join(part for part in (place, self._kind, self.path, self.message) if part)
        return f"{text} ({self.hint})" if self.hint else text


@attrs.frozen
class ConfigError(Problem):
    """Something that keeps a configuration from being used."""


@attrs.frozen
class ConfigWarning(Problem):
    """Something that works but is probably not what was meant."""

    _kind: ClassVar[str] = "warning"


class ConfigErrors(Exception):
    """A configuration that cannot be used, with every reason at once.

    :ivar errors: never empty, in the order of the files.
    :ivar warnings: what would have been said even if it had worked.
    :ivar omitted: how many more errors there are than ``errors`` holds.
    """

    def __init__(
        self,
        errors: Iterable[ConfigError],
        warnings: Iterable[ConfigWarning] = (),
        omitted: int = 0,
    ) -> None:
        super().__init__()
        self.errors = tuple(errors)
        self.warnings = tuple(warnings)
        self.omitted = omitted

    @property
    def count(self) -> int:
        """How many errors were found, listed or not."""
        return len(self.errors) + self.omitted

    def __str__(self) -> str:
        lines = [str(error) for error in self.errors]
        if self.omitted:
            lines.append(f"... and {self.omitted} more")
        return "\n".join(lines)


P = TypeVar("P", bound=Problem)


class Problems:
    """Collects what is found while one configuration is read.

    :param files: their names in the order in which to report.
    """

    def __init__(self, files: Iterable[str] = (), limit: int = MAX_ERRORS) -> None:
        self._limit = limit
        self._errors: list[ConfigError] = []
        self._warnings: list[ConfigWarning] = []
        self._omitted = 0
        self._files = list(files)

    @property
    def full(self) -> bool:
        """No further error will be listed, so do not spend time on its text."""
        return len(self._errors) >= self._limit

    @property
    def count(self) -> int:
        """How many errors there are so far."""
        return len(self._errors) + self._omitted

    def error(self, problem: ConfigError) -> None:
        """Add an error."""
        self._remember(problem.file)
        if self.full:
            self._omitted += 1
        else:
            self._errors.append(problem)

    def warning(self, problem: ConfigWarning) -> None:
        """Add a warning; those beyond the limit are dropped."""
        self._remember(problem.file)
        if len(self._warnings) < self._limit:
            self._warnings.append(problem)

    def _remember(self, file: str) -> None:
        if file not in self._files:
            self._files.append(file)

    def _ordered(self, found: list[P]) -> tuple[P, ...]:
        return tuple(
            sorted(found, key=lambda one: (self._files.index(one.file), one.line, one.column))
        )

    @property
    def warnings(self) -> tuple[ConfigWarning, ...]:
        """All warnings so far, in the order of the files."""
        return self._ordered(self._warnings)

    def exception(self) -> ConfigErrors:
        """All that was found, ready to be raised."""
        return ConfigErrors(self._ordered(self._errors), self.warnings, self._omitted)
