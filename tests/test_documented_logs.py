"""What the pages quote of the log is what the launcher says."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import string

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "operations.md")
LEVELS = ("debug", "info", "warn", "error", "critical", "failure")

#: What a line in a block without a language begins with if it is one of the log.
BEGINNINGS = re.compile(r"^(?:\d{4}-\S+ \w+ +)?(?:\[([\w.]+)\] |(?=SIGUSR2: |provider \w+: ))(.*)$")


@functools.cache
def formats() -> dict[str, list[re.Pattern[str]]]:
    """By module, what it may log."""
    found: dict[str, list[re.Pattern[str]]] = {}
    for path in sorted((ROOT / "nodepool_tx").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "nodepool_tx").with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)
            ):
                parts = string.Formatter().parse(node.args[0].value)
                words = (
                    re.escape(text) + ("" if field is None else ".+") for text, field, _, _ in parts
                )
                found.setdefault(module, []).append(re.compile("".join(words)))
    return found


def quoted() -> list[tuple[str, str | None, str]]:
    """Page, class that speaks, and message of each line of the log."""
    found = []
    for page in PAGES:
        language: str | None = None
        for line in page.read_text().splitlines():
            if line.startswith("```"):
                language = line.removeprefix("```") if language is None else None
            elif language == "" and (match := BEGINNINGS.match(line)) is not None:
                found.append((page.name, match[1], match[2].partition("  event_id=")[0]))
    return found


QUOTED = quoted()


def test_there_is_something_to_compare() -> None:
    """Both are found, with and without the part that speaks."""
    assert len(QUOTED) > 15
    assert {source is None for _, source, _ in QUOTED} == {True, False}
    assert sum(map(len, formats().values())) > 100


@pytest.mark.parametrize(("page", "source", "message"), QUOTED)
def test_it_is_said(page: str, source: str | None, message: str) -> None:
    """In the words of the code, and by the part that is named."""
    if source is None:
        patterns = [pattern for some in formats().values() for pattern in some]
    else:
        patterns = formats()[source.rpartition(".")[0]]
    assert any(
        # A message that is nothing but values fits everything.
        pattern.pattern.replace(".+", "").strip() and pattern.fullmatch(message)
        for pattern in patterns
    ), f"{page}: nobody says {message!r}"
