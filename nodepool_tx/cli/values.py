"""Names that shells complete arguments with: from the configuration, or ZooKeeper.

``nodepool complete-values KIND -- WORDS`` is run by the completion scripts
while somebody waits with a finger on the Tab key: it reads as little as it
can, gives up early, and never says why.
"""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from kazoo.exceptions import NoNodeError
from twisted.internet.defer import Deferred

from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.target import DEFAULT_CONFIG, find_target
from nodepool_tx.cli.visit import World
from nodepool_tx.config import Config, ConfigErrors, StaticPool, load_config
from nodepool_tx.model import PoolComponent
from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable, decode_component
from nodepool_tx.txzookeeper.interface import ZookeeperAPI

__all__ = ["KINDS", "complete_values"]

#: Seconds until an answer comes too late, and to leave.
_PATIENCE = 2.0
_LEAVING = 0.5

#: What needs no quoting in any shell; other names can still be typed.
_HARMLESS = re.compile(r"[\w.,:@%+/-]+", re.ASCII)

_InConfig = Callable[[Config], Iterable[str]]
_InZookeeper = Callable[[ZookeeperAPI], Awaitable[Iterable[str]]]


async def _children(client: ZookeeperAPI, path: str) -> list[str]:
    try:
        return [name for name in await client.get_children(path) if name != "lock"]
    except NoNodeError:
        return []


async def _nodes(client: ZookeeperAPI) -> Iterable[str]:
    return await _children(client, paths.NODES)


async def _requests(client: ZookeeperAPI) -> Iterable[str]:
    return await _children(client, paths.REQUESTS)


async def _images(client: ZookeeperAPI) -> Iterable[str]:
    return await _children(client, paths.IMAGES)


async def _builds(client: ZookeeperAPI) -> list[tuple[str, str]]:
    return [
        (image, build)
        for image in await _children(client, paths.IMAGES)
        for build in await _children(client, f"{paths.IMAGES}/{image}/builds")
    ]


async def _build_ids(client: ZookeeperAPI) -> Iterable[str]:
    return [build for _, build in await _builds(client)]


async def _image_builds(client: ZookeeperAPI) -> Iterable[str]:
    return [f"{image}-{build}" for image, build in await _builds(client)]


async def _pools(client: ZookeeperAPI) -> list[PoolComponent]:
    place, found = f"{paths.COMPONENTS}/pool", []
    for name in await _children(client, place):
        try:
            pool = decode_component("pool", (await client.get(f"{place}/{name}"))[0])
        except (NoNodeError, Unreadable):
            continue
        assert isinstance(pool, PoolComponent)
        found.append(pool)
    return found


async def _providers(client: ZookeeperAPI) -> Iterable[str]:
    return [pool.provider_name for pool in await _pools(client)]


async def _labels(client: ZookeeperAPI) -> Iterable[str]:
    return [label for pool in await _pools(client) for label in pool.supported_labels]


def _hosts(config: Config) -> Iterable[str]:
    return [
        node.name for pool in config.pools if isinstance(pool, StaticPool) for node in pool.nodes
    ]


#: By metavar, where to find the values: in the configuration, which needs no
#: network, and if there is none, or it does not say, in ZooKeeper.
KINDS: Mapping[str, tuple[_InConfig | None, _InZookeeper | None]] = {
    "ID": (None, _nodes),
    "NODE": (None, _nodes),
    "REQUEST": (None, _requests),
    "PROVIDER": (lambda config: config.providers, _providers),
    "LABEL": (lambda config: config.labels, _labels),
    "HOST": (_hosts, None),
    "TENANT": (lambda config: config.tenant_resource_limits, None),
    "IMAGE": (lambda config: config.diskimages, _images),
    "BUILD_ID": (None, _build_ids),
    "IMAGE-BUILD": (None, _image_builds),
}


async def complete_values(world: World, options: argparse.Namespace) -> int:
    """Print the names of some kinds, one a line; nothing if that does not work."""
    options = _as_typed(options)
    finding = Deferred.fromCoroutine(_found(world, options))
    try:
        names = await finding.addTimeout(_PATIENCE, world.reactor)
    except Exception:
        # Whatever it is, a prompt is no place to tell it.
        return ExitCode.OK
    shown = sorted({name for name in names if _HARMLESS.fullmatch(name)})
    if shown:
        world.terminal.result("\n".join(shown))
    return ExitCode.OK


async def _found(world: World, options: argparse.Namespace) -> list[str]:
    config = _config(world, options)
    found: list[str] = []
    asked: list[_InZookeeper] = []
    for kind in options.kinds:
        in_config, in_zookeeper = KINDS.get(kind, (None, None))
        names = list(in_config(config)) if in_config is not None and config is not None else []
        found += names
        if not names and in_zookeeper is not None:
            asked.append(in_zookeeper)
    if not asked:
        return found
    client = world.connect(find_target(options, world.environ))
    try:
        await client.connect()
        for ask in asked:
            found += await ask(client)
    finally:
        await client.close().addTimeout(_LEAVING, world.reactor)
    return found


def _config(world: World, options: argparse.Namespace) -> Config | None:
    try:
        return load_config(options.config or DEFAULT_CONFIG, options.secure, world.environ)
    except (ConfigErrors, Complaint):
        return None


#: The options of the line being typed that say where to look.
_PLACES = {
    "-c": "config",
    "--config": "config",
    "-s": "secure",
    "--secure": "secure",
    "--state-dir": "state_dir",
}


def _as_typed(options: argparse.Namespace) -> argparse.Namespace:
    """Our options, with those of the unfinished line that is completed."""
    typed = copy.copy(options)
    words: Sequence[str] = [word for word in options.command if word != "="]
    for word, following in zip(words, [*words[1:], None], strict=False):
        name, joined, value = word.partition("=")
        given = value if joined else following
        if name in _PLACES and given:
            setattr(typed, _PLACES[name], given)
    return typed
