"""Which form of an answer a client would rather have (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["best_offer"]


def best_offer(accept: str | None, offers: Sequence[str]) -> str | None:
    """The offer with the greatest weight, the earlier one of several; None: none will do.

    :param accept: the header; without one anything will do.
    """
    if accept is None or not accept.strip():
        return offers[0]
    ranges = [parsed for part in accept.split(",") if (parsed := _range(part)) is not None]
    if not ranges:
        return offers[0]
    weights = [(_weight(offer, ranges), offer) for offer in offers]
    best = max(weight for weight, _ in weights)
    return next(offer for weight, offer in weights if weight == best) if best > 0 else None


def _range(part: str) -> tuple[str, float] | None:
    """A media range and its weight; None for what cannot be read."""
    media, *parameters = (piece.strip() for piece in part.split(";"))
    media = media.lower()
    if media.count("/") != 1:
        return None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                weight = float(value.strip())
            except ValueError:
                return None
            return (media, weight) if 0 <= weight <= 1 else None
    return (media, 1.0)


def _weight(offer: str, ranges: list[tuple[str, float]]) -> float:
    """By the most specific range that the offer falls into."""
    kind = offer.partition("/")[0]
    for wanted in (offer, f"{kind}/*", "*/*"):
        found = [weight for media, weight in ranges if media == wanted]
        if found:
            return max(found)
    return 0.0
