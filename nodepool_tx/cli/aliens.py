"""``alien-image-list``: what builders left in the clouds and nobody has a record of."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError

from nodepool_tx.cli.gathering import gathered
from nodepool_tx.cli.options import Verbs
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.showing import show
from nodepool_tx.cli.visit import Visit
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.offload import in_thread
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import (
    BUILD_ID,
    PROVIDER_NAME,
    UPLOAD_ID,
    ImageInCloud,
    ListsImages,
)
from nodepool_tx.providers.cloud.outside import adapter_of
from nodepool_tx.reports.report import Column, Report
from nodepool_tx.store.images import ImageTable

__all__ = ["add_verbs", "aliens_among"]

#: Seconds for a cloud to list its images.
_PATIENCE = 60.0

_COLUMNS = (
    Column("provider", "Provider"),
    Column("name", "Name"),
    Column("image_id", "Image ID"),
    Column("build_id", "Build ID", ours=True),
)


def add_verbs(verbs: Verbs) -> None:
    verb = verbs.add(
        "alien-image-list",
        "list images of builders in the clouds that no upload's record names",
        list_aliens,
        example="alien-image-list rack1",
    )
    verb.add_argument("provider", nargs="?", metavar="PROVIDER", help="only in its cloud")


@attrs.frozen
class _Answer:
    """What came of asking one provider.

    :ivar trouble: why its images are not known.
    :ivar nothing_to_ask: it has no images that could be seen from here.
    """

    provider: str
    images: tuple[ImageInCloud, ...] = ()
    trouble: str | None = None
    nothing_to_ask: bool = False


async def list_aliens(visit: Visit) -> int:
    """``alien-image-list``: asks all clouds at a time."""
    wanted = _wanted(visit)
    visit.terminal.progress(f"asking {', '.join(provider.name for provider in wanted)}")
    answers: list[_Answer] = await gathered(
        [Deferred.fromCoroutine(_ask(visit, provider)) for provider in wanted]
    )
    # What was uploaded while the clouds were asked has a record now.
    await visit.store.barrier()
    show(visit, _report(answers, visit.store.images))
    silent = [answer.provider for answer in answers if answer.nothing_to_ask]
    if silent:
        visit.terminal.note(
            f"not asked, as their drivers have no images to be seen from here: {', '.join(silent)}"
        )
    troubles = [answer for answer in answers if answer.trouble is not None]
    for answer in troubles:
        visit.terminal.note(f"provider {answer.provider}: {answer.trouble}")
    if troubles or (silent and visit.options.provider is not None):
        return ExitCode.FAILED
    return ExitCode.OK


def _wanted(visit: Visit) -> list[ProviderConfig]:
    if visit.config is None:
        raise Complaint("there is no configuration that names providers (name yours with -c)")
    providers, name = visit.config.providers, visit.options.provider
    if name is None:
        return list(providers.values())
    if name not in providers:
        names = ", ".join(sorted(providers)) or "none"
        raise Complaint(f"there is no provider {name} in the configuration: there is {names}")
    return [providers[name]]


async def _ask(visit: Visit, provider: ProviderConfig) -> _Answer:
    reactor = visit.world.reactor
    try:
        cloud = adapter_of(provider, visit.store, reactor, in_thread(reactor))
    except Exception as e:
        return _Answer(provider.name, trouble=str(e))
    able: object = cloud
    if cloud is None or not isinstance(able, ListsImages):
        return _Answer(provider.name, nothing_to_ask=True)
    cloud.start()
    try:
        asking = Deferred.fromCoroutine(able.list_images())
        images = await asking.addTimeout(_PATIENCE, reactor)
    except TimeoutError:
        return _Answer(provider.name, trouble=f"no answer within {_PATIENCE:g} s")
    except CloudError as e:
        return _Answer(provider.name, trouble=str(e))
    except CancelledError:
        raise
    except Exception as e:
        return _Answer(provider.name, trouble=f"{type(e).__name__}: {e}")
    finally:
        await cloud.stop()
    return _Answer(provider.name, tuple(images))


def aliens_among(
    images: Iterable[ImageInCloud], provider: str, table: ImageTable
) -> list[ImageInCloud]:
    """Those that no upload's record names, by the cloud's id or by ours.

    A record that cannot be read names an image, too, and one of an upload that
    is under way or being deleted.  Providers may share an account, so the
    records of all of them count.
    """
    recorded = {str(upload.external_id) for upload in table.uploads()}
    return [
        image
        for image in images
        if image.external_id not in recorded
        and (image.metadata.get(BUILD_ID), image.metadata.get(UPLOAD_ID))
        not in table.upload_ids(image.metadata.get(PROVIDER_NAME, provider))
    ]


def _report(answers: Iterable[_Answer], table: ImageTable) -> Report:
    rows = tuple(
        {
            "provider": answer.provider,
            "name": image.name,
            "image_id": image.external_id,
            "build_id": image.metadata.get(BUILD_ID),
        }
        for answer in sorted(answers, key=lambda answer: answer.provider)
        for image in sorted(
            aliens_among(answer.images, answer.provider, table),
            key=lambda image: (image.name, image.external_id),
        )
    )
    return Report(_COLUMNS, rows, [column.key for column in _COLUMNS if not column.ours])
