"""Reading what follows the question mark."""

from __future__ import annotations

from twisted.web.server import Request

from nodepool_tx.web.answers import NotToBeHad

__all__ = ["bad_parameter", "text_parameter", "whole_parameter"]


def bad_parameter(name: str, problem: str) -> NotToBeHad:
    """The answer to a parameter that cannot be used."""
    return NotToBeHad(400, "bad parameter", f"{name}: {problem}")


def text_parameter(request: Request, name: str) -> str | None:
    """The value of a parameter, or None if it is not there.

    :raises NotToBeHad: it is there twice, or is no text.
    """
    values: list[bytes] = (request.args or {}).get(name.encode(), [])
    if not values:
        return None
    if len(values) > 1:
        raise bad_parameter(name, "given more than once")
    try:
        return values[0].decode("utf-8")
    except UnicodeDecodeError:
        raise bad_parameter(name, "not UTF-8") from None


def whole_parameter(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number within bounds.

    :raises NotToBeHad: it is something else.
    """
    text = text_parameter(request, name)
    if text is None:
        return default
    # int() also reads underscores, signs, spaces and digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise bad_parameter(name, f"not a whole number from {least} to {most}")
    return int(text)
