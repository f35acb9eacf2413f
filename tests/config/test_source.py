"""Files to text: what is filled in, and the way back to the file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.config.source import SourceFile, Sources, SourceText, read_sources
from tests.config.parsing import errors_of, parse

ENV = {"NODEPOOL_HOST": "zk1", "NODEPOOL_PORT": "2181", "NODEPOOL_EMPTY": "", "HOME": "/root"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("%(NODEPOOL_HOST)", "zk1"),
        ("%(NODEPOOL_HOST)%(NODEPOOL_PORT)", "zk12181"),
        ("a%(NODEPOOL_EMPTY)b", "ab"),
        ("%(HOME)", "%(HOME)"),
        ("%(NODEPOOL_OTHER)", "%(NODEPOOL_OTHER)"),
        ("%(NODEPOOL_HOST", "%(NODEPOOL_HOST"),
        ("%{NODEPOOL_HOST}", "%{NODEPOOL_HOST}"),
    ],
)
def test_substitution(written: str, read: str) -> None:
    """Variables that are set and begin with NODEPOOL_ are filled in."""
    assert SourceText(written, ENV).text == read


def test_a_value_is_not_substituted_again() -> None:
    """What a variable holds is taken as it is."""
    env = {"NODEPOOL_A": "%(NODEPOOL_B)", "NODEPOOL_B": "b"}
    assert SourceText("%(NODEPOOL_A)", env).text == "%(NODEPOOL_B)"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(False), st.text("ab\n\r", max_size=6)),
            st.tuples(st.just(True), st.text("xy\n", max_size=6)),
        )
    )
)
def test_positions_lead_back(parts: list[tuple[bool, str]]) -> None:
    """Each copied character has its line and column of the file; each filled in
    one has those of the reference to its variable."""
    original, text, expected, env = "", "", [], {}
    for number, (filled, part) in enumerate(parts):
        if filled:
            env[f"NODEPOOL_{number}"] = part
            expected += [len(original)] * len(part)
            original += f"%(NODEPOOL_{number})"
        else:
            expected += range(len(original), len(original) + len(part))
            original += part
        text += part
    source = SourceText(original, env)
    assert source.text == text
    for index, at in enumerate(expected):
        before = original[:at].replace("\r\n", "\r")
        if original[:at].endswith("\r") and original[at : at + 1] == "\n":
            continue  # inside of a line end
        line = before.count("\r") + before.count("\n") + 1
        column = len(before) - max(before.rfind("\r"), before.rfind("\n"))
        assert source.position(index) == (line, column)


def test_variables_in_a_configuration() -> None:
    """A variable can stand for any piece of YAML, also of several lines."""
    config = parse(
        """
        zookeeper-servers: [{host: "%(NODEPOOL_HOST)", port: %(NODEPOOL_PORT)}]
        %(NODEPOOL_MORE)
        """,
        env=ENV | {"NODEPOOL_MORE": "max-hold-age: 5\nimages-dir: x"},
    )
    assert (config.zookeeper_servers[0].host, config.zookeeper_servers[0].port) == ("zk1", 2181)
    assert (config.max_hold_age, config.images_dir) == (5, "x")


def test_errors_after_a_substitution() -> None:
    """Lines and columns are those of the file, whatever was filled in before."""
    errors = errors_of(
        """\
        images-dir: "%(NODEPOOL_MORE)"
        webapp: {listen_address: "%(NODEPOOL_MORE)", port: x}
        max-hold-age: %(NODEPOOL_HOST)
        """,
        env=ENV | {"NODEPOOL_MORE": "one\n  two\n  three"},
    )
    assert [(error.line, error.column, error.path) for error in errors.errors] == [
        (2, 52, "webapp.port"),
        (3, 15, "max-hold-age"),
    ]


def test_variables_that_are_not_set() -> None:
    """A warning names each place where one is left as text; comments do not matter."""
    config = parse(
        """\
        # %(NODEPOOL_COMMENT)
        images-dir: "%(NODEPOOL_A)/%(NODEPOOL_B)"
        providers:
          - name: x
            driver: aws
            tags: {"%(NODEPOOL_C)": 1}
        """
    )
    assert [(warning.line, warning.path) for warning in config.warnings] == [
        (2, "images-dir"),
        (2, "images-dir"),
        (6, "providers[0].tags.%(NODEPOOL_C)"),
    ]
    assert config.images_dir == "%(NODEPOOL_A)/%(NODEPOOL_B)"


def test_digest(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The digest tells contents apart, and which of the files holds them."""
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    a, b, none = (str(tmp_path / name) for name in ("a", "b", "none"))
    same = read_sources(a).digest
    assert same == read_sources(b).digest
    others = [read_sources(none), read_sources(a, b), read_sources(a, none)]
    others.append(Sources(SourceFile("x", b"x-")))
    assert len({same, *(sources.digest for sources in others)}) == 5
    assert read_sources(a, b).size == 2
    assert read_sources(a, none).missing
    assert not read_sources(a, b).missing
