"""What somebody typed before, kept from one log-in to the next."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile

from twisted.logger import Logger

__all__ = ["History"]

#: Lines that are kept, and how long each may be.
MOST = 500
LONGEST = 2000

_HARMLESS = re.compile(r"[^A-Za-z0-9_.-]")


class History:
    """The lines of one user, oldest first, in a file that nobody else can read.

    :param directory: where the files of all users are; made when it is needed.
    """

    _log = Logger()

    def __init__(self, directory: str, user: str) -> None:
        self._directory = directory
        # Two users whose names differ in nothing but strange letters stay apart.
        mark = hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()[:8]
        self._path = os.path.join(directory, f"{_HARMLESS.sub('_', user)[:50]}-{mark}.json")
        self.lines: list[str] = self._read()

    def _read(self) -> list[str]:
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.loads(file.read(4 * MOST * LONGEST))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as e:
            self._log.warn("history {path} cannot be read: {reason}", path=self._path, reason=e)
            return []
        lines = found if isinstance(found, list) else []
        return [line for line in lines if isinstance(line, str)][-MOST:]

    def add(self, line: str) -> None:
        """Remember a line, unless it says nothing or is the same as the last."""
        if not line.strip() or len(line) > LONGEST or self.lines[-1:] == [line]:
            return
        self.lines.append(line)
        del self.lines[:-MOST]

    def save(self) -> None:
        """Write it down; what others wrote for the same user meanwhile is lost."""
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            # Made by mkstemp, it is for its owner alone.
            file, path = tempfile.mkstemp(dir=self._directory)
            with os.fdopen(file, "w", encoding="utf-8") as out:
                json.dump(self.lines, out)
            os.replace(path, self._path)
        except OSError as e:
            self._log.warn("history {path} cannot be kept: {reason}", path=self._path, reason=e)
