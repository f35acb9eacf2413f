"""``erase``: forget a provider that is no more.

What is locked is in somebody's hands, and stays.  Each build and each node is
removed in one transaction of its own, so that an erasure that was broken off
is finished by doing it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from nodepool_tx.cli.options import Verbs
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.visit import Visit
from nodepool_tx.model import Node
from nodepool_tx.store.change import Conflict, Moved, Vanished
from nodepool_tx.store.image_erasing import ProviderBuild, ProviderImages

__all__ = ["add_verbs"]

#: How often a node is looked at again that others write at the same time.
_ATTEMPTS = 5

#: How many of many are named.
_NAMED = 10


def add_verbs(verbs: Verbs) -> None:
    verb = verbs.add(
        "erase",
        "remove all that ZooKeeper holds of a provider's uploads and nodes",
        erase,
        example="erase rack1",
        formats=(),
    )
    verb.add_argument("provider", metavar="PROVIDER")
    verb.add_argument("--force", action="store_true", help="do not ask first")


@attrs.define
class _Erased:
    """How far it has come.

    :ivar left: what is in somebody's hands, in words.
    """

    uploads: int = 0
    builds: int = 0
    nodes: int = 0
    left: list[str] = attrs.field(factory=list)


async def erase(visit: Visit) -> int:
    """``erase``."""
    provider = visit.options.provider
    images = ProviderImages(visit.client, provider)
    builds = await images.builds()
    nodes = sorted(visit.store.nodes.of_provider(provider), key=lambda node: node.id)
    if not builds and not nodes:
        visit.terminal.note(f"ZooKeeper holds nothing of provider {provider}")
        return ExitCode.OK
    _describe(visit, builds, nodes)
    await _be_sure(visit)
    done = _Erased()
    for build in builds:
        visit.terminal.progress(f"erasing the uploads of build {build}")
        await _erase_build(images, build, done)
    for node in nodes:
        visit.terminal.progress(f"erasing node {node.id}")
        await _erase_node(visit, node, done)
    visit.terminal.settle()
    visit.terminal.result(
        f"erased of provider {provider}: {done.uploads} uploads of {done.builds} builds, "
        f"{done.nodes} nodes"
    )
    if done.left:
        more = f" and {len(done.left) - _NAMED} more" if len(done.left) > _NAMED else ""
        raise Complaint(
            f"left, as they are in somebody's hands: {', '.join(done.left[:_NAMED])}{more}; "
            "erase again when they are free"
        )
    return ExitCode.OK


def _describe(visit: Visit, builds: Iterable[ProviderBuild], nodes: list[Node]) -> None:
    provider, note = visit.options.provider, visit.terminal.note
    uploads = [len(build.uploads) for build in builds]
    states = Counter(node.state.value for node in nodes)
    by_state = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    note(
        f"ZooKeeper holds of provider {provider}: {sum(uploads)} uploads of {len(uploads)} "
        f"builds, {len(nodes)} nodes{f' ({by_state})' if nodes else ''}"
    )
    promised = [node.id for node in nodes if node.allocated_to]
    if promised:
        more = ", ..." if len(promised) > _NAMED else ""
        note(f"promised to somebody, or in use: nodes {', '.join(promised[:_NAMED])}{more}")
    serving = sorted(
        {pool.hostname for pool in visit.store.components.pools() if pool.provider_name == provider}
    )
    if serving:
        note(f"WARNING: launchers at {', '.join(serving)} still serve it, and go on doing so")
    note("Servers and images in the cloud are not touched, and nobody will know of them.")


async def _be_sure(visit: Visit) -> None:
    if visit.options.force:
        return
    provider, typed = visit.options.provider, visit.world.typed
    if not visit.world.interactive or typed is None:
        raise Complaint(
            f"nothing was erased: there is nobody to ask; nodepool erase {provider} --force "
            "does not ask"
        )
    visit.terminal.note(f"Erase all this of provider {provider}?  This cannot be undone. [y/N]")
    if (await typed()).lower() not in ("y", "yes"):
        raise Complaint("nothing was erased")


async def _erase_build(images: ProviderImages, build: ProviderBuild, done: _Erased) -> None:
    try:
        done.uploads += await images.erase(build)
    except Conflict:
        done.left.append(f"uploads of build {build}")
    else:
        done.builds += 1


async def _erase_node(visit: Visit, node: Node, done: _Erased) -> None:
    found: Node | None = node
    for _ in range(_ATTEMPTS):
        if found is None:
            return
        change = visit.store.change()
        change.remove_node(found)
        try:
            await change.commit()
        except (Moved, Vanished):
            await visit.store.barrier()
            found = visit.store.nodes.get(node.id)
        except Conflict:
            break
        else:
            done.nodes += 1
            return
    user = f" for {found.requestor}" if found is not None and found.requestor else ""
    state = found.state.value if found is not None else node.state.value
    done.left.append(f"node {node.id} ({state}{user})")
