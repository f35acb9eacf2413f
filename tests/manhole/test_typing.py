"""Keys, the line they make, and what Tab adds to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.manhole.completion import complete, shared_beginning
from nodepool_tx.manhole.editor import LineEditor
from nodepool_tx.manhole.keyboard import Key, Keyboard
from nodepool_tx.manhole.widths import cut, fitted, wrapped
from nodepool_tx.reports.table import columns_of, printable


def typed(*pieces: bytes) -> list[Key]:
    keyboard = Keyboard()
    return [key for piece in pieces for key in keyboard.feed(piece)]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"\x1b[A\x1bOB\x1b[1;5C\x1b[3~", ["up", "down", "word-right", "delete"]),
        (b"\x03\x04\x01\r\n\t\x7f", ["ctrl-c", "ctrl-d", "ctrl-a", "enter", "tab", "backspace"]),
        (b"\x1bb\x1bf\x1b\x7f", ["word-left", "word-right", "ctrl-w"]),
        (b"\x1b[99;99X\x1b[Ia", ["text"]),
        ("ü名".encode(), ["text", "text"]),
        (b"\xff", ["text"]),
        (b"\x00", []),
    ],
)
def test_keys(data: bytes, names: list[str]) -> None:
    """They are known however they arrive: at once, or byte by byte."""
    assert [key.name for key in typed(data)] == names
    assert [key.name for key in typed(*(bytes([b]) for b in data))] == names


def test_a_paste_is_one_key() -> None:
    """With its lines, and without what would steer a terminal."""
    data = b"x\x1b[200~a\r\n\tb\x07\n\x1b[Ac\x1b[201~y"
    expected = [Key("text", "x"), Key("paste", "a\n    b\n[Ac"), Key("text", "y")]
    assert typed(data) == expected
    assert typed(*(bytes([b]) for b in data)) == expected


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_any_bytes_are_bearable(pieces: list[bytes]) -> None:
    """Whatever a terminal sends, keys come out that can be handled."""
    editor = LineEditor(["one", "two"])
    for key in typed(*pieces):
        editor.press(key)
        assert 0 <= editor.at <= len(editor.text)
        text, cursor = editor.render(">>> ", 40)
        assert columns_of(text) <= 41
        assert 0 <= cursor <= 40


def edit(keys: str, history: tuple[str, ...] = ()) -> LineEditor:
    """Press keys, given by their names with spaces between them."""
    editor = LineEditor(history)
    for name in keys.split():
        editor.press(Key(name) if len(name) > 1 else Key("text", name))
    return editor


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("a b c left left x", "axbc"),
        ("a b ctrl-a x ctrl-e y", "xaby"),
        ("a b left delete", "a"),
        ("a b backspace backspace backspace", ""),
        ("a b c left ctrl-u", "c"),
        ("a b c left ctrl-k", "ab"),
        ("a b c left ctrl-k home ctrl-y", "cab"),
        ("a . b . c ctrl-w", "a.b."),
        ("a . b home delete-word", ".b"),
        ("a . b word-left word-left x", "xa.b"),
        ("a . b home word-right x", "ax.b"),
    ],
)
def test_editing(keys: str, text: str) -> None:
    """As in other shells."""
    assert edit(keys).text == text


def test_lines_typed_before() -> None:
    """Up finds those that begin as what was typed, Down goes back to that."""
    history = ("nodes", "help", "nodes.ready")
    assert edit("up up", history).text == "help"
    assert edit("n up", history).text == "nodes.ready"
    assert edit("n up up", history).text == "nodes"
    assert edit("n up up up", history).text == "nodes"
    assert edit("n up up down down", history).text == "n"


def test_a_long_line_moves_sideways() -> None:
    """The cursor is always in sight, and the line never wider than the window."""
    editor = LineEditor()
    editor.insert("0123456789" * 20)
    for at in range(len(editor.text), -1, -1):
        editor.at = at
        text, cursor = editor.render(">>> ", 40)
        assert columns_of(text) <= 40
        shown = text[cursor : cursor + 1]
        assert shown == editor.text[at : at + 1] or shown == "" or columns_of(text) == 40


class Thing:
    """Something with attributes, one of which must not be looked at."""

    def __init__(self) -> None:
        self.plain = [1]
        self._hidden = 2

    @property
    def costly(self) -> Any:
        raise AssertionError("Tab has an effect")


NAMES = {"nodes": {}, "node_count": 3, "thing": Thing(), "_": 1}


def offers(text: str) -> list[str]:
    return complete(text, NAMES, lambda: iter(("rack", "rack-2", "cloud")))[1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nod", ["node_count", "nodes"]),
        ("len(nodes", ["nodes"]),
        ("thing.", ["costly", "plain"]),
        ("thing.pl", ["plain"]),
        ("thing.plain.appe", ["append"]),
        ("thing.costly.a", []),
        ("thing._hid", ["_hidden"]),
        ("nothing.a", []),
        ("idle('ra", ["rack", "rack-2"]),
        ('nodes["cl', ["cloud"]),
        ("f('a', 'cl", ["cloud"]),
        ("f('a').real", []),
    ],
)
def test_completion(text: str, found: list[str]) -> None:
    """Names, attributes, and inside quotes the names of things; nothing is run for it."""
    assert offers(text) == found


def test_shared_beginnings() -> None:
    """What all offers begin with is put in."""
    assert shared_beginning(["rack", "rack-2", "ra"]) == "ra"
    assert shared_beginning(["x"]) == "x"
    assert shared_beginning(["x", "y"]) == ""
    assert shared_beginning([]) == ""


def test_widths() -> None:
    """Wide letters take two columns_of, accents none."""
    assert columns_of("a名e\u0301") == 4
    assert cut("名名名", 5) == "名名"
    assert fitted("abcdef", 4) == "abc…"
    assert fitted("名", 4) == "名  "
    assert list(wrapped("abcdef", 4)) == ["abcd", "ef"]
    assert list(wrapped("", 4)) == [""]
    assert printable("a\x1b[2Jb") == "a\\x1b[2Jb"
