"""A question in ZooKeeper: somebody writes it, each launcher answers below it.

``/nodepool/questions/<uuid>`` holds the question, its child ``<launcher>`` the
answer of the launcher that is registered under that name.  Who asked removes
all of it; what is left over because nobody did, the launchers remove.
"""

from __future__ import annotations

import json

from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable

__all__ = ["answer_path", "decode_question", "encode_question", "launcher_id", "question_path"]


def question_path(name: str) -> str:
    return f"{paths.QUESTIONS}/{name}"


def answer_path(name: str, launcher: str) -> str:
    return f"{paths.QUESTIONS}/{name}/{launcher}"


def launcher_id(component_path: str) -> str:
    """What a launcher is called here: as it is registered."""
    return component_path.rpartition("/")[2]


def encode_question(request_id: str, asked: float) -> bytes:
    return json.dumps({"explain": request_id, "asked": asked}).encode()


def decode_question(data: bytes) -> str:
    """The id of the request that is asked about.

    :raises Unreadable: that is no question we know.
    """
    try:
        request_id = json.loads(data)["explain"]
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise Unreadable(f"that is no question: {e!r}") from e
    if not isinstance(request_id, str):
        raise Unreadable("that is no question: it names no request")
    return request_id
