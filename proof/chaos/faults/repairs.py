"""What faults and whoever mends them do to znodes by hand."""

from __future__ import annotations

from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
)

from nodepool_tx.txzookeeper.retry import until_connected
from proof.chaos.interface import Farm

__all__ = ["put", "remove", "replace"]

#: How often whoever stands in line below a znode may come back before we give up.
_TIMES = 50

#: Seconds to wait for ZooKeeper, which another fault may have taken away.
_PATIENCE = 60.0


async def connected(farm: Farm) -> None:
    """Wait for our own connection.

    :raises ConnectionClosedError: there will be none.
    :raises TimeoutError: there is none for long.
    """
    await until_connected(farm.client).addTimeout(_PATIENCE, farm.reactor)


async def remove(farm: Farm, path: str) -> None:
    """Remove a znode with all below it, as a person does with ZooKeeper's own client.

    Whose lock goes with it may ask for it again in between.
    """
    for _ in range(_TIMES):
        await connected(farm)
        try:
            await farm.client.delete_tree(path)
        except NoNodeError:
            return
        except (NotEmptyError, ConnectionLoss, SessionExpiredError):
            continue
        return
    farm.note(f"cannot remove {path}")


async def put(farm: Farm, path: str, data: bytes) -> None:
    """Make a znode, or write over it."""
    await farm.client.ensure_path(path)
    await farm.client.set(path, data)


async def replace(farm: Farm, path: str, ours: bytes, data: bytes) -> bool:
    """Write ``data`` where nobody has changed what we wrote; whether that was so."""
    await connected(farm)
    try:
        found, stat = await farm.client.get(path)
        if found != ours:
            return False
        await farm.client.set(path, data, stat.version)
    except (NoNodeError, BadVersionError):
        return False
    return True
