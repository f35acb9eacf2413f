"""Texts of strangers inside DNs and filters: what they contain can never end them.

Everything but plain letters, digits and four harmless signs is written as the
hexadecimal digits of its bytes, which both syntaxes allow for any character.
"""

from __future__ import annotations

import unicodedata

from nodepool_tx.auth.interface import Denied

__all__ = ["checked_name", "dn_value", "filled", "filter_value"]

LONGEST_NAME = 256
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_@")


def checked_name(user: str) -> str:
    """A name that somebody may have.

    :raises Denied: nobody is called that.
    """
    if not user or user != user.strip():
        raise Denied("the name is empty, or begins or ends with a space")
    if len(user) > LONGEST_NAME:
        raise Denied(f"the name has {len(user)} characters")
    # Control characters, formatting, halves of characters, what is not assigned.
    if any(unicodedata.category(letter).startswith("C") for letter in user):
        raise Denied("the name contains characters that no name has")
    return user


def _escaped(text: str) -> str:
    return "".join(
        chr(byte) if byte in _PLAIN else f"\\{byte:02x}" for byte in text.encode("utf-8")
    )


def filter_value(text: str) -> str:
    """``text`` as a value in a filter (RFC 4515)."""
    return _escaped(text)


def dn_value(text: str) -> str:
    """``text`` as a value in a DN (RFC 4514)."""
    return _escaped(text)


def filled(template: str, user: str) -> str:
    """A DN or a filter with the name of a user in its place."""
    return template.replace("{user}", _escaped(user))
