"""Whether tables have colours, and which."""

from __future__ import annotations

from collections.abc import Mapping

from nodepool_tx.reports.report import Paint, Tone

__all__ = ["paint", "paint_for"]

#: Of the eight colours that every terminal has and lets its user choose.
_CODES = {Tone.GOOD: "32", Tone.BUSY: "33", Tone.HELD: "35", Tone.BAD: "31"}


def paint(text: str, tone: Tone) -> str:
    """``text`` in the colour of a tone; it takes the same place on the screen."""
    return f"\x1b[{_CODES[tone]}m{text}\x1b[0m"


def paint_for(choice: str, environ: Mapping[str, str], is_screen: bool) -> Paint | None:
    """How to colour, or None for not at all.

    An option on the command line goes before the environment, and a wish for
    no colours before a wish for them.

    :param choice: of ``--color``: ``auto``, ``always`` or ``never``.
    :param is_screen: the output goes to a terminal.
    """
    return paint if _wanted(choice, environ, is_screen) else None


def _wanted(choice: str, environ: Mapping[str, str], is_screen: bool) -> bool:
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    forced = (environ.get("CLICOLOR_FORCE", ""), environ.get("FORCE_COLOR", ""))
    if any(value not in ("", "0") for value in forced):
        return True
    return is_screen and environ.get("TERM") != "dumb" and environ.get("CLICOLOR") != "0"
