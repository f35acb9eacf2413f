"""What every :class:`~nodepool_tx.providers.cloud.interface.CloudAdapter` must do.

Mix :class:`AdapterContract` into a trial ``TestCase`` that knows how to make an
adapter, what it can be asked for, and how to hurt the cloud behind it.  Nothing
in here knows whether time is real: with :class:`VirtualTime` the tests run on a
``Clock``, without it on the reactor.

What a cloud cannot be made to do is named in ``cannot``, with the reason; the
tests that need it are then not among the tests of that class, and one test sees
to it that nothing is both named there and provided, or neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from nodepool_tx.providers.cloud.errors import (
    CloudError,
    Gone,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)
from nodepool_tx.providers.cloud.interface import (
    BUILD_ID,
    NODE_ID,
    PROVIDER_NAME,
    UPLOAD_ID,
    ImageInCloud,
    Instance,
    InstanceState,
    ListsImages,
    Resource,
)
from tests.contract.cloud_stage import ABILITIES, AdapterStage, VirtualTime, contract

__all__ = ["ABILITIES", "AdapterContract", "VirtualTime", "contract"]

_S = InstanceState


class AdapterContract(AdapterStage):
    """Mix into a trial ``TestCase``; see the module."""

    # -- the declaration -------------------------------------------------

    def test_abilities_are_declared(self) -> None:
        """Each ability is provided, or declared impossible with a reason."""
        provided = {
            name
            for name in ABILITIES
            if getattr(type(self), name) is not getattr(AdapterStage, name)
        }
        self.check(set(self.cannot) <= ABILITIES, f"unknown: {set(self.cannot) - ABILITIES}")
        self.check(not provided & set(self.cannot), f"both: {provided & set(self.cannot)}")
        missing = ABILITIES - provided - set(self.cannot)
        self.check(not missing, f"neither provided nor declared impossible: {missing}")
        self.check(all(self.cannot.values()), "an ability is declared impossible for no reason")

    # -- life ------------------------------------------------------------

    @contract()
    async def test_start_and_stop(self) -> None:
        """An adapter may be stopped before it was of use, and says how often to list."""
        adapter = self.make_adapter()
        adapter.start()
        self.check(adapter.poll_interval > 0, "poll_interval is not above 0")
        await adapter.stop()

    # -- servers ---------------------------------------------------------

    @contract()
    async def test_a_servers_life(self) -> None:
        """A server is made, becomes active, gets its address, and is deleted."""
        adapter = self.adapter()
        order = self.order()
        external_id = await self.create(adapter, order)
        self.check(isinstance(external_id, str) and bool(external_id), f"no id: {external_id!r}")
        instance = await self.finished(adapter, external_id, order)
        self.check(instance.state is _S.ACTIVE, f"is not active: {instance}")
        self.check(instance.external_id == external_id, f"is another server: {instance}")
        self.check(bool(instance.interface_ip), f"has no address: {instance}")
        await self.delete(adapter, external_id)

    @contract()
    async def test_metadata_is_kept(self) -> None:
        """A listing that begins after a server was made shows it with its metadata."""
        adapter = self.adapter()
        order = self.order()
        external_id = await self.create(adapter, order)
        instance = await self.find(adapter, external_id)
        self.check(instance is not None, "the listing does not show the server")
        assert instance is not None
        for key, value in order.metadata.items():
            self.check(instance.metadata.get(key) == value, f"{key}: {instance.metadata}")
        self.check(instance.node_id == order.node_id, f"node_id: {instance.node_id}")

    @contract()
    async def test_servers_are_told_apart(self) -> None:
        """Servers that are asked for at the same time have ids of their own."""
        adapter = self.adapter()
        self.clean_up(adapter)
        orders = [self.order(f"000000000{n}") for n in range(1, 4)]
        ids = await gatherResults(
            [Deferred.fromCoroutine(adapter.create(order)) for order in orders],
            consumeErrors=True,
        )
        self.check(len(set(ids)) == 3, f"ids are shared: {ids}")
        shown = {i.external_id: i.node_id for i in await self.ours(adapter)}
        expected = {
            external_id: order.node_id for external_id, order in zip(ids, orders, strict=True)
        }
        self.check(shown == expected, f"listed {shown}, made {expected}")

    @contract()
    async def test_listings_are_comparable(self) -> None:
        """Two listings show a server that did not change as equal values."""
        adapter = self.adapter()
        order = self.order()
        external_id = await self.create(adapter, order)
        await self.finished(adapter, external_id, order)
        first, second = (
            await self.find(adapter, external_id),
            await self.find(adapter, external_id),
        )
        self.check(first == second, f"{first} is not {second}")

    @contract()
    async def test_finishing_again(self) -> None:
        """A finished server is left as it is, also by another adapter after a restart."""
        adapter = self.adapter()
        order = self.order()
        external_id = await self.create(adapter, order)
        instance = await self.finished(adapter, external_id, order)
        again = await self.finished(self.adapter(), external_id, order)
        self.check(again.interface_ip == instance.interface_ip, f"{again} was {instance} at first")

    @contract()
    async def test_deleting_again(self) -> None:
        """A deletion may be asked for while it is under way; when it is done, it is Gone."""
        adapter = self.adapter()
        external_id = await self.create(adapter)
        await adapter.delete(external_id)
        await self.delete(adapter, external_id)
        await self.refused(adapter.delete(external_id), Gone)

    @contract()
    async def test_resources_of_a_server(self) -> None:
        """A server counts for what its label needs, where a listing tells."""
        adapter = self.adapter()
        needs = await adapter.needs(self.label())
        instance = await self.find(adapter, await self.create(adapter))
        assert instance is not None
        if instance.resources is not None:
            self.check(dict(instance.resources) == dict(needs), f"{instance.resources}, {needs}")

    @contract()
    async def test_console(self) -> None:
        """The console of a server is a text, or there is none; not that of one gone."""
        adapter = self.adapter()
        order = self.order()
        external_id = await self.create(adapter, order)
        await self.finished(adapter, external_id, order)
        console = await adapter.console(external_id)
        self.check(console is None or isinstance(console, str), f"console: {console!r}")
        await self.delete(adapter, external_id)

        async def none() -> bool:
            try:
                return await adapter.console(external_id) is None
            except Gone:
                return True

        # A cloud may forget it a moment later than it leaves the server out of its lists.
        await self.until(none, "the console to be gone")

    @contract("remove_server")
    async def test_a_server_that_somebody_removed(self) -> None:
        """A server that is gone is not listed any more, and Gone for a deletion."""
        adapter = self.adapter()
        external_id = await self.create(adapter)
        await self.remove_server(external_id)
        await self.until(lambda: self._is_gone(adapter, external_id), "the server to be gone")
        await self.refused(adapter.delete(external_id), Gone)

    @contract("fail_a_server")
    async def test_a_server_that_fails(self) -> None:
        """A server that will never run is shown as failed, with a reason, and can be deleted."""
        adapter = self.adapter()
        await self.fail_a_server()
        external_id = await self.create(adapter)

        async def failed() -> Instance | None:
            instance = await self.find(adapter, external_id)
            return instance if instance and instance.state is _S.FAILED else None

        instance = await self.until(failed, "the server to fail")
        self.check(isinstance(instance.fault, CloudError), f"no reason: {instance.fault!r}")
        self.check(bool(str(instance.fault)), "a reason without a text")
        await self.delete(adapter, external_id)

    @contract("add_unmanaged")
    async def test_servers_of_others(self) -> None:
        """A server that is none of ours is listed, and for no node."""
        adapter = self.adapter()
        external_id = await self.add_unmanaged()
        instance = await self.find(adapter, external_id)
        assert instance is not None, "a server of somebody else is not listed"
        self.check(instance.node_id is None, f"is taken for ours: {instance}")
        self.check(PROVIDER_NAME not in instance.metadata, f"is taken for ours: {instance}")

    # -- refusals --------------------------------------------------------

    @contract("exhaust_quota")
    async def test_over_quota(self) -> None:
        """What the quota does not allow is OverQuota, and nothing is made."""
        adapter = self.adapter()
        await self.exhaust_quota()
        before = await self.ours(adapter)
        await self.refused(adapter.create(self.order("0000000009")), OverQuota)
        self.check(len(await self.ours(adapter)) == len(before), "a server was made")

    @contract("fill_up")
    async def test_no_capacity(self) -> None:
        """A cloud without room says NoCapacity, at once or of a server that failed."""
        adapter = self.adapter()
        order = self.order(zone=await self.fill_up())
        self.clean_up(adapter)
        try:
            external_id = await adapter.create(order)
        except NoCapacity:
            self.check(not await self.ours(adapter), "a server was made")
            return

        async def failed() -> Instance | None:
            instance = await self.find(adapter, external_id)
            return instance if instance and instance.state is _S.FAILED else None

        instance = await self.until(failed, "the server to fail")
        self.check(isinstance(instance.fault, NoCapacity), f"failed for {instance.fault!r}")

    @contract("bad_label")
    async def test_a_label_that_asks_for_what_is_not_there(self) -> None:
        """That is InvalidConfiguration, and nothing is made."""
        adapter = self.adapter()
        order = self.order(label=await self.bad_label(), image_id=None)
        await self.refused(adapter.create(order), InvalidConfiguration)
        self.check(not await self.ours(adapter), "a server was made")

    @contract("impossible_label")
    async def test_needs_of_what_cannot_be(self) -> None:
        """The needs of a label for which there is no server are InvalidConfiguration."""
        label = await self.impossible_label()
        await self.refused(self.adapter().needs(label), InvalidConfiguration)

    @contract("ask_for_peace")
    async def test_retry_later(self) -> None:
        """A cloud that wants to be left in peace says so, and for how long; then it works."""
        adapter = self.adapter()
        seconds = await self.ask_for_peace()
        error = await self.refused(adapter.create(self.order()), RetryLater)
        assert isinstance(error, RetryLater)
        self.check(error.seconds == seconds, f"{error.seconds} instead of {seconds} seconds")
        await self.wait(seconds or 0)
        self.check(not await self.ours(adapter), "a server was made")
        await self.create(adapter)

    @contract("break_the_api")
    async def test_a_broken_api(self) -> None:
        """Each method of an adapter fails with CloudError, and none that says more."""
        adapter = self.adapter()
        order = self.order()
        external_id = await self.create(adapter, order)
        instance = await self.finished(adapter, external_id, order)
        await self.break_the_api()
        self.mend_later()
        broken = self.adapter()
        calls: tuple[Callable[[], Awaitable[Any]], ...] = (
            lambda: broken.create(self.order("0000000002")),
            lambda: broken.delete(instance.external_id),
            broken.list_instances,
        )
        for call in calls:
            error = await self.refused(call(), CloudError)
            self.check(
                not isinstance(error, (Gone, OverQuota, NoCapacity, InvalidConfiguration)),
                f"a broken API is taken for {error!r}",
            )
        for name in ("quota", "zones", "list_resources"):
            try:
                await getattr(broken, name)()
            except CloudError:
                continue
            except Exception as error:
                raise AssertionError(f"{name} lets out {error!r}") from error

    @contract("silence_the_api")
    async def test_cancelling(self) -> None:
        """A call that is cancelled ends at once, and the adapter can be stopped then."""
        adapter = self.adapter()
        await self.silence_the_api()
        self.mend_later()
        calls = [
            Deferred.fromCoroutine(adapter.list_instances()),
            Deferred.fromCoroutine(adapter.create(self.order())),
        ]
        await self.wait(0.01)
        for call in calls:
            self.check(not call.called, "was answered all the same")
            call.cancel()
            await self.given_up(call)

    @contract("silence_the_api")
    async def test_stopping_with_calls_in_flight(self) -> None:
        """Stopping an adapter ends what is in flight."""
        adapter = self.make_adapter()
        adapter.start()
        await self.silence_the_api()
        self.mend_later()
        call = Deferred.fromCoroutine(adapter.list_instances())  # type: ignore[arg-type]
        await self.wait(0.01)
        await adapter.stop()
        await self.given_up(call)

    @contract("lose_an_answer")
    async def test_an_answer_that_is_lost(self) -> None:
        """A server whose creation was never confirmed is found by its metadata."""
        adapter = self.adapter()
        order = self.order("0000000007")
        await self.lose_an_answer()
        self.clean_up(adapter)
        error = await self.refused(adapter.create(order), CloudError)
        self.check(
            not isinstance(error, (OverQuota, NoCapacity, RetryLater, InvalidConfiguration)),
            f"{error!r} would say that nothing was made",
        )
        found = [i for i in await self.ours(adapter) if i.node_id == "0000000007"]
        self.check(len(found) == 1, f"found {found}")

    # -- what may be had -------------------------------------------------

    @contract()
    async def test_quota(self) -> None:
        """The quota is amounts of resources."""
        quota = await self.adapter().quota()
        for resource, amount in quota.items():
            self.check(isinstance(resource, str), f"resource {resource!r}")
            self.check(isinstance(amount, (int, float)) and amount >= 0, f"{resource}: {amount!r}")

    @contract()
    async def test_needs(self) -> None:
        """A server of a label counts as one, and otherwise in known amounts."""
        needs = await self.adapter().needs(self.label())
        self.check(needs.get("instances") == 1, f"needs {needs}")
        for resource, amount in needs.items():
            self.check(isinstance(amount, (int, float)) and amount >= 0, f"{resource}: {amount!r}")

    @contract()
    async def test_zones(self) -> None:
        """A server ordered for one of the zones is in it."""
        adapter = self.adapter()
        zones = tuple(await adapter.zones())
        self.check(len(set(zones)) == len(zones), f"a zone is named twice: {zones}")
        self.check(all(isinstance(zone, str) and zone for zone in zones), f"zones: {zones}")
        for zone in zones[-1:]:
            order = self.order(zone=zone)
            external_id = await self.create(adapter, order)
            instance = await self.finished(adapter, external_id, order)
            self.check(instance.zone == zone, f"is in {instance.zone} instead of {zone}")

    @contract()
    async def test_the_image_is_ready(self) -> None:
        """The image of a label that works is there."""
        if self.image_id() is None:
            self.check(
                await self.adapter().image_ready(self.label()) is True, "the image is missing"
            )

    @contract("missing_image")
    async def test_the_image_is_missing(self) -> None:
        """An image that is not there is not ready."""
        label = await self.missing_image()
        self.check(await self.adapter().image_ready(label) is False, "is said to be there")

    # -- leftovers -------------------------------------------------------

    @contract()
    async def test_servers_among_the_resources(self) -> None:
        """A server is among what could be left over, with its metadata, while it is there."""
        adapter = self.adapter()
        external_id = await self.create(adapter)

        async def found() -> list[Resource]:
            return [
                resource
                for resource in await adapter.list_resources()
                if resource.metadata.get(PROVIDER_NAME) == self.provider
                and resource.metadata.get(NODE_ID) == "0000000001"
            ]

        ids = {resource.external_id for resource in await found() if resource.kind == "instance"}
        self.check(ids == {external_id}, f"found {ids} instead of {external_id}")
        await self.delete(adapter, external_id)
        self.check(not await found(), f"left over: {await found()}")

    @contract()
    async def test_deleting_a_server_as_a_resource(self) -> None:
        """A server that was left over is removed like anything else."""
        adapter = self.adapter()
        external_id = await self.create(adapter)
        (resource,) = [
            each for each in await adapter.list_resources() if each.external_id == external_id
        ]
        await adapter.delete_resource(resource)
        await self.until(lambda: self._is_gone(adapter, external_id), "the server to be gone")
        await self.refused(adapter.delete_resource(resource), Gone)

    @contract("leave_leftover")
    async def test_leftovers(self) -> None:
        """What is left over is found by its metadata, removed, and Gone then."""
        metadata = {NODE_ID: "0000000404", PROVIDER_NAME: self.provider}
        resource = await self.leave_leftover(metadata)
        await self._removable(resource, metadata, orphan=False)

    @contract("leave_orphan")
    async def test_orphans(self) -> None:
        """What shows by itself that nobody uses it is found and removed without metadata."""
        await self._removable(await self.leave_orphan(), {}, orphan=True)

    async def _removable(
        self, resource: Resource, metadata: Mapping[str, str], orphan: bool
    ) -> None:
        adapter = self.adapter()

        async def listed() -> Resource | None:
            for each in await adapter.list_resources():
                if (each.kind, each.external_id) == (resource.kind, resource.external_id):
                    assert isinstance(each, Resource)
                    return each
            return None

        found = await listed()
        assert found is not None, f"{resource} is not found"
        self.check(found.orphan is orphan, f"orphan: {found}")
        for key, value in metadata.items():
            self.check(found.metadata.get(key) == value, f"{key}: {found}")
        await adapter.delete_resource(found)

        async def removed() -> bool:
            return await listed() is None

        await self.until(removed, f"{resource} to be removed")
        await self.refused(adapter.delete_resource(found), Gone)

    # -- images ----------------------------------------------------------

    @contract("image_file")
    async def test_images_of_builders_are_listed(self) -> None:
        """With name and metadata, until they are gone; images of nobody's build never are."""
        adapter = self.adapter()
        self.check(isinstance(adapter, ListsImages), "it cannot list images")
        order = await self.image_file()
        ours = {**order.metadata, BUILD_ID: "4b9b4f9c", UPLOAD_ID: "0000000001"}
        others = {key: value for key, value in order.metadata.items() if key != BUILD_ID}
        built = await adapter.upload_image(attrs.evolve(order, metadata=ours))
        other = await adapter.upload_image(attrs.evolve(order, metadata=others))

        async def listed() -> dict[str, ImageInCloud]:
            return {image.external_id: image for image in await adapter.list_images()}

        found = await listed()
        self.check(other not in found, f"an image without a build is listed: {found}")
        self.check(built in found, f"an image is not listed: {found}")
        self.check(found[built].name == order.name, f"name: {found[built]}")
        for key in (BUILD_ID, UPLOAD_ID):
            self.check(found[built].metadata.get(key) == ours[key], f"{key}: {found[built]}")
        await adapter.delete_image(other)
        await adapter.delete_image(built)

        async def gone() -> bool:
            return built not in await listed()

        await self.until(gone, "the image to be gone")

    @contract("image_file")
    async def test_an_images_life(self) -> None:
        """An image is uploaded, found by its metadata, deleted, and Gone then."""
        adapter = self.adapter()
        order = await self.image_file()
        image_id = await adapter.upload_image(order)
        self.check(isinstance(image_id, str) and bool(image_id), f"no id: {image_id!r}")

        async def found() -> list[Resource]:
            return [r for r in await adapter.list_resources() if r.external_id == image_id]

        for resource in await found():
            self.check(dict(resource.metadata) == dict(order.metadata), f"metadata: {resource}")
        await adapter.delete_image(image_id)

        async def gone() -> bool:
            return not await found()

        await self.until(gone, "the image to be gone")
        await self.refused(adapter.delete_image(image_id), Gone)
