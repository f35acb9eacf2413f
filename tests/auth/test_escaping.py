"""Texts of strangers in DNs and filters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import parse_filter
from ldap3.protocol.convert import prepare_filter_for_sending
from ldap3.utils.dn import parse_dn

from nodepool_tx.auth.escaping import checked_name, dn_value, filled, filter_value
from nodepool_tx.auth.interface import Denied

HOSTILE = [
    "*",
    "*)(uid=*",
    ")(|(uid=*",
    "\\2a",
    "\\",
    "alice,ou=admins",
    "a+b=c",
    '"',
    "<;>",
    "#616c",
    "a b",
    "é",
    "名前",
    "\0",
    "\n",
]


def unescaped(text: str) -> str:
    """The other way round, as the two RFCs say."""
    found = bytearray()
    at = 0
    while at < len(text):
        if text[at] == "\\":
            found.append(int(text[at + 1 : at + 3], 16))
            at += 3
        else:
            found += text[at].encode()
            at += 1
    return found.decode()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str) -> None:
    """They end neither a DN nor a filter, and are still the same names."""
    dn = filled("uid={user},ou=people", name)
    parts = parse_dn(dn)
    assert [part[0] for part in parts] == ["uid", "ou"]
    assert unescaped(dn_value(name)) == name
    words = filled("(&(objectClass=person)(uid={user}))", name)
    tree = parse_filter(words, None, False, None, None, False).elements[0]
    assert [element.assertion["attr"] for element in tree.elements] == ["objectClass", "uid"]
    assert prepare_filter_for_sending(tree.elements[1].assertion["value"]) == name.encode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_nothing_of_a_name_is_syntax(name: str) -> None:
    """Whatever it is, only letters, digits and four signs are left as they are."""
    for escaped in (filter_value(name), dn_value(name)):
        assert unescaped(escaped) == name
        assert not set(escaped) & set('*(),+="<>;# /\0\n')


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a\0", "a\nb", "a\x7f", "\u202ea", "a\u200b", "\ud800", "a" * 257]
)
def test_names_that_nobody_has(name: str) -> None:
    """They are denied before a server is asked."""
    with pytest.raises(Denied):
        checked_name(name)


@pytest.mark.parametrize("name", ["alice", "a b", "O'Hara", "名前", "*", "a" * 256])
def test_names_that_somebody_may_have(name: str) -> None:
    """They are left to the directory."""
    assert checked_name(name) == name
