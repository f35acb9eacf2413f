"""The launch of one node: from its record to a server that can be used.

Read :meth:`Launch.run`: it is the whole of it.  What it has done so far is in
the node's record at every moment, so that a launch that is cut off anywhere can
be taken up by another process.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from kazoo.exceptions import AuthFailedError, ConnectionClosedError
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodepool_tx.config.cloud import CloudLabel, CloudPool
from nodepool_tx.events import LaunchEnded
from nodepool_tx.model import IllegalTransition, Node, NodeRequest, NodeState
from nodepool_tx.providers.cloud import records
from nodepool_tx.providers.cloud.account import Account
from nodepool_tx.providers.cloud.attempt import Attempt
from nodepool_tx.providers.cloud.backoff import Backoff
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
)
from nodepool_tx.providers.cloud.holding import Hold, NotHeld
from nodepool_tx.providers.cloud.images import choose_image
from nodepool_tx.providers.cloud.interface import (
    PROVIDER_NAME,
    Instance,
    InstanceState,
    Order,
)
from nodepool_tx.providers.cloud.results import READY, result_of
from nodepool_tx.providers.cloud.within import TooLate, within

__all__ = ["Launch", "servers_of"]

#: Not an attempt's failure, but the end of our having the node.
_NO_FAILURE = (
    NotHeld,
    IllegalTransition,
    CancelledError,
    ConnectionClosedError,
    AuthFailedError,
)

#: Seconds before the next attempt.
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0

#: Seconds within which what a failed attempt has made must be gone.
CLEANING_PATIENCE = 600.0


async def servers_of(account: Account, node_id: str) -> tuple[Instance, ...]:
    """What was made for a node, as a listing shows it that begins now."""
    listing = await account.poller.next_listing()
    return tuple(
        instance
        for instance in listing.of_node(node_id)
        if instance.metadata.get(PROVIDER_NAME) == account.name
    )


@attrs.define(eq=False, kw_only=True)
class Launch:
    """The launch of one node.

    :ivar adopted: somebody else began it; what came of that is not known.
    :ivar attempt: the last attempt, from its beginning.
    :ivar failures: how many attempts count as failed.
    :ivar last_error: why the last one that failed did.
    """

    account: Account
    hold: Hold
    pool: CloudPool
    label: CloudLabel
    request: NodeRequest | None = None
    adopted: bool = False
    attempt: Attempt | None = None
    attempts: int = 0
    failures: int = 0
    what: str = ""
    last_error: str = ""
    _full: set[str | None] = attrs.field(factory=set)
    _zone: str | None = None
    #: When the attempt began that has not ended; None between attempts.
    _began: float | None = None

    _log = Logger()

    async def run(self) -> Node:
        """Make the node ready, or failed, or aborted, and let it go; returns its record.

        :raises NotHeld: the node is not ours any more.
        :raises IllegalTransition: somebody has put it in another state.
        """
        account, clock = self.account, self.account.clock
        pauses = Backoff(FIRST_PAUSE, LONGEST_PAUSE, account.random.random)
        self._zone = self.hold.node.az
        external_id = await self._begun_before(self.hold.node)
        if external_id is None and not self.adopted:
            refused = account.quota.refusal or self._find_usable_zone()
            if refused is not None:
                return await self._put_off(refused)
        while True:
            ticket = account.breakers.begin(self.label.name, self._zone)
            try:
                self.attempt = await self._prepare(external_id)
                finish = await self.attempt.run()
            except _NO_FAILURE:
                raise
            except Exception as e:
                error = self._understood(e)
                self.last_error = str(error) or type(error).__name__
                ticket.failed(error)
                final = self._judge(error)
                seen = self.attempt.seen if self.attempt is not None else None
                self.tell(result_of(error, seen), final=final is not None)
                if final is NodeState.ABORTED:
                    return await self._put_off(f"the quota does not allow it: {error}")
                if final is not None:
                    return await self._give_up(final)
                if not await self._clean_up():
                    return await self._give_up(NodeState.FAILED)
                if not self._turn_to_another_zone(error):
                    self.what = "pausing before the next attempt"
                    await deferLater(clock, pauses.next())
                external_id = None
            else:
                ticket.succeeded()
                break
            finally:
                ticket.abandoned()
        node = await self._let_go(finish)
        self.tell(READY)
        return node

    @property
    def doing(self) -> str:
        """What it is about now, in words."""
        return self.what or (self.attempt.what if self.attempt is not None else "beginning")

    def tell(self, result: str, *, final: bool = True) -> None:
        """Tell how the attempt under way has ended, if there is one."""
        began, self._began = self._began, None
        if began is None:
            return
        node = self.hold.node
        requestor = self.request.requestor if self.request is not None else node.requestor
        self.account.events.publish(
            LaunchEnded(
                provider=self.account.name,
                pool=self.pool.name,
                label=self.label.name,
                node_id=self.hold.node_id,
                result=result,
                seconds=self.account.clock.seconds() - began,
                zone=node.az or self._zone,
                requestor=requestor,
                image=self.label.image.name if self.label.image is not None else None,
                final=final,
            )
        )

    # -- beginning -------------------------------------------------------

    def _find_usable_zone(self) -> str | None:
        """Turn to a zone in which the label may be tried now; why not, if there is none.

        When something was left alone for a while one attempt tells whether it
        works again; all others that were decided on together with that wait.
        """
        breakers, label = self.account.breakers, self.label.name
        if breakers.usable_zones(label, [self._zone]):
            return None
        others = self._other_zones()
        if not others:
            return breakers.objection(label, self.account.offers.zones_of(self.pool.name))
        self._zone = self.account.random.choice(others)
        return None

    async def _begun_before(self, node: Node) -> str | None:
        """The server that was made for the node already."""
        if node.external_id is not None:
            return str(node.external_id)
        if not self.adopted:
            return None
        self.what = "looking for a server made before"
        for instance in await servers_of(self.account, node.id):
            if instance.state is not InstanceState.DELETING:
                return await self._found(instance.external_id)
        return None

    async def _found(self, external_id: str) -> str:
        await self.hold.write(lambda node: node.changed(external_id=external_id))
        return external_id

    async def _prepare(self, external_id: str | None) -> Attempt:
        """Write down what is about to be done."""
        account = self.account
        self.what, self.attempt = "", None
        self.attempts += 1
        self._began = account.clock.seconds()
        order = Order(
            node_id=self.hold.node_id,
            name=records.host_name(self.hold.node_id),
            pool=self.pool,
            label=self.label,
            metadata=records.metadata_of(self.hold.node),
            zone=self._zone,
            request=self.request,
        )
        if external_id is None:
            image = choose_image(self.label, account.store.images, account.name)
            needs = account.offers.of(self.pool.name, self.label.name).needs
            order = attrs.evolve(order, image_id=image.external_id)
            now = account.clock.seconds()
            await self.hold.write(lambda node: records.begun(node, now, image, needs, self._zone))
        return Attempt(
            account=account,
            hold=self.hold,
            pool=self.pool,
            label=self.label,
            order=order,
            external_id=external_id,
        )

    # -- failing ---------------------------------------------------------

    def _understood(self, error: Exception) -> CloudError:
        """What went wrong; a mistake of ours is a failed attempt, too."""
        if isinstance(error, CloudError):
            return error
        self._log.failure("the launch of node {node_id} failed", node_id=self.hold.node_id)
        return CloudError(f"{type(error).__name__}: {error}")

    def _judge(self, error: CloudError) -> NodeState | None:
        """What the node comes to after an attempt that failed; None for another attempt."""
        retries = self.account.config.launch_retries
        if isinstance(error, OverQuota):
            self.account.quota.refused(self._needs(), str(error))
            return NodeState.ABORTED
        if not (isinstance(error, NoCapacity) and self._other_zones()):
            self.failures += 1
        self._log.warn(
            "launch attempt {attempt} for node {node_id} in {provider} failed "
            "({failures} of {retries}): {reason}",
            attempt=self.attempts,
            failures=self.failures,
            retries=retries,
            node_id=self.hold.node_id,
            provider=self.account.name,
            pool=self.pool.name,
            label=self.label.name,
            zone=self._zone,
            reason=str(error) or type(error).__name__,
        )
        if isinstance(error, InvalidConfiguration) or self.failures >= retries:
            return NodeState.FAILED
        return None

    def _needs(self) -> dict[str, float]:
        return dict(self.hold.node.resources or {"instances": 1})

    def _other_zones(self) -> tuple[str | None, ...]:
        """Where else the node could be made, after the present zone was full."""
        zones = self.account.offers.zones_of(self.pool.name)
        left = [zone for zone in zones if zone != self._zone and zone not in self._full]
        return self.account.breakers.usable_zones(self.label.name, left)

    def _turn_to_another_zone(self, error: CloudError) -> bool:
        """Go elsewhere if it was full; False if there is no such place."""
        others = self._other_zones()
        if not isinstance(error, NoCapacity):
            usable = self.account.breakers.usable_zones(self.label.name, [self._zone])
            if not usable and others:
                self._zone = self.account.random.choice(others)
            return False
        if not others:
            self._full.clear()
            return False
        self._full.add(self._zone)
        self._zone = self.account.random.choice(others)
        return True

    async def _put_off(self, reason: str) -> Node:
        """Nothing was tried: have another node made for it when it may be."""
        self._log.info(
            "node {node_id} of {provider} is put off: {reason}",
            node_id=self.hold.node_id,
            provider=self.account.name,
            reason=reason,
        )
        return await self._give_up(NodeState.ABORTED)

    async def _give_up(self, state: NodeState) -> Node:
        """Write the node's end; what is left of it is deleted with it."""
        found = await self._left_over()
        external_id = found[0] if found else None
        now = self.account.clock.seconds()
        return await self._let_go(lambda node: node.in_state(state, now, external_id=external_id))

    async def _clean_up(self) -> bool:
        """Delete what the attempt has made; whether it is certain that nothing is left."""
        found = await self._left_over()
        if found is None:
            return False
        # Who has the node by now may be using the very server.
        await self.hold.confirm()
        self.what = "deleting the server of a failed attempt"
        for external_id in found:
            deleting = self.account.deletions.until_gone(external_id, self.hold.node_id)
            try:
                await within(self.account.clock, CLEANING_PATIENCE, deleting)
            except TooLate:
                self._log.warn(
                    "node {node_id} is not tried again: its server {external_id} does not go",
                    node_id=self.hold.node_id,
                    external_id=external_id,
                )
                return False
        self.attempt = None
        await self.hold.write(lambda node: node.changed(external_id=None))
        return True

    async def _left_over(self) -> tuple[str, ...] | None:
        """The servers that the last attempt may have made; None if that cannot be told."""
        attempt = self.attempt
        if attempt is None:
            return ()
        if attempt.external_id is not None:
            return (attempt.external_id,)
        if not attempt.unknown:
            return ()
        self.what = "looking for a server that may have been made"
        looking = servers_of(self.account, self.hold.node_id)
        try:
            found = await within(self.account.clock, CLEANING_PATIENCE, looking)
        except TooLate:
            # Should there be one, it is found later by what it carries.
            return None
        return tuple(instance.external_id for instance in found)

    async def _let_go(self, change: Callable[[Node], Node]) -> Node:
        node = await self.hold.write(change, release=True)
        self._log.info(
            "node {node_id} of {provider} is {state}",
            node_id=node.id,
            provider=self.account.name,
            pool=self.pool.name,
            label=self.label.name,
            state=node.state.value,
            external_id=node.external_id,
            request_id=node.allocated_to,
        )
        return node
