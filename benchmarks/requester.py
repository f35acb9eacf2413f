"""What Zuul does with a node, operation for operation, without what it does in between.

Ask, watch the request until it is fulfilled, read and lock its nodes, delete the request, set
the nodes in use, set them used, unlock.  :class:`Ledger` is shared by all requesters of a run
and notices a node that was handed to two of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from typing import Any

import attrs
from kazoo.exceptions import NodeExistsError, NoNodeError

from benchmarks.connection import EPHEMERAL, SEQUENCE, Connection

NODES = "/nodepool/nodes"
REQUESTS = "/nodepool/requests"
PRECEDENCE = "100"


class HandOutError(Exception):
    """The launcher did something that no client could work with."""


@attrs.define
class Ledger:
    """Who has which node, and what has been measured."""

    holders: dict[str, str] = attrs.field(factory=dict)
    waits: list[float] = attrs.field(factory=list)
    waiting: dict[asyncio.Task[Any], float] = attrs.field(factory=dict)
    """Who waits for an answer, and since when."""

    def take(self, node: str, request: str) -> None:
        """Note that a request has a node.  :raises HandOutError: if another one has it."""
        if node in self.holders:
            raise HandOutError(
                f"node {node} was given to {request} while {self.holders[node]} uses it"
            )
        self.holders[node] = request

    def give_back(self, node: str) -> None:
        """Note that a node is no longer used."""
        del self.holders[node]


@attrs.define
class HeldNode:
    """A node under our lock."""

    id: str
    data: dict[str, Any]
    contender: str


def request_body(labels: list[str], tenant: str = "benchmark") -> bytes:
    """A request as Zuul writes it."""
    now = time.time()
    return json.dumps(
        {
            "requestor_data": {"build_set_uuid": uuid.uuid4().hex, "job_name": "benchmark"},
            "node_types": labels,
            "requestor": "benchmark",
            "created_time": now,
            "provider": None,
            "state": "requested",
            "state_time": now,
            "relative_priority": 0,
            "event_id": uuid.uuid4().hex,
            "tenant_name": tenant,
        }
    ).encode()


async def ask(connection: Connection, labels: list[str], tenant: str = "benchmark") -> str:
    """Write a request; answers its id."""
    prefix, body = f"{REQUESTS}/{PRECEDENCE}-", request_body(labels, tenant)
    try:
        path = await connection.create(prefix, body, SEQUENCE)
    except NoNodeError:
        await make_path(connection, REQUESTS)
        path = await connection.create(prefix, body, SEQUENCE)
    return path.rsplit("/", 1)[1]


async def make_path(connection: Connection, path: str) -> None:
    """Create a znode and those above it, where they are not there."""
    parts = path.strip("/").split("/")
    for depth in range(1, len(parts) + 1):
        with contextlib.suppress(NodeExistsError):
            await connection.create("/" + "/".join(parts[:depth]))


async def wait_until_answered(connection: Connection, request: str) -> list[str]:
    """Wait for a request to be fulfilled; answers the ids of its nodes.

    :raises HandOutError: if the launcher failed it.
    """
    while True:
        data, _, changed = await connection.get_and_watch(f"{REQUESTS}/{request}")
        body = json.loads(data)
        if body["state"] == "fulfilled":
            nodes: list[str] = body["nodes"]
            return nodes
        if body["state"] == "failed":
            raise HandOutError(f"request {request} failed")
        await changed


async def lock(connection: Connection, directory: str) -> str:
    """Take a lock the way kazoo does; answers our contender's path."""
    name = f"{directory}/{uuid.uuid4().hex}__lock__"
    if await connection.stat(directory) is None:
        with contextlib.suppress(NodeExistsError):
            await connection.create(directory)
    contender = await connection.create(name, b"benchmark", EPHEMERAL | SEQUENCE)
    sequence = contender[-10:]
    while True:
        children = await connection.children(directory)
        before = [child for child in children if child[-10:] < sequence]
        if not before:
            return contender
        try:
            _, _, gone = await connection.get_and_watch(f"{directory}/{max(before, key=_last10)}")
        except NoNodeError:
            continue
        await gone


def _last10(name: str) -> str:
    return name[-10:]


async def accept(connection: Connection, request: str, nodes: list[str]) -> list[HeldNode]:
    """Lock a fulfilled request's nodes and delete the request.

    :raises HandOutError: if a node is not this request's.
    """
    held = []
    for node in nodes:
        data = json.loads((await connection.get(f"{NODES}/{node}"))[0])
        if data["allocated_to"] != request:
            raise HandOutError(f"node {node} of {request} is allocated to {data['allocated_to']}")
        contender = await lock(connection, f"{NODES}/{node}/lock")
        held.append(HeldNode(node, data, contender))
    await connection.delete(f"{REQUESTS}/{request}")
    return held


async def set_state(connection: Connection, node: HeldNode, state: str) -> None:
    """Write a node's state."""
    node.data["state"] = state
    node.data["state_time"] = time.time()
    await connection.set(f"{NODES}/{node.id}", json.dumps(node.data).encode())


async def use_one(connection: Connection, label: str, ledger: Ledger) -> float:
    """One whole job on one node; answers how long the hand-out took, in seconds.

    While its task is in the ledger's `waiting` it may be cancelled; it then deletes the request.
    """
    asked = time.perf_counter()
    request = await ask(connection, [label])
    task = asyncio.current_task()
    assert task is not None
    ledger.waiting[task] = asked
    try:
        nodes = await wait_until_answered(connection, request)
    except asyncio.CancelledError:
        await connection.delete(f"{REQUESTS}/{request}")
        raise
    finally:
        del ledger.waiting[task]
    waited = time.perf_counter() - asked
    for node in nodes:
        ledger.take(node, request)
    held = await accept(connection, request, nodes)
    for mine in held:
        await set_state(connection, mine, "in-use")
    for mine in held:
        await set_state(connection, mine, "used")
        ledger.give_back(mine.id)
        await connection.delete(mine.contender)
    ledger.waits.append(waited)
    return waited
