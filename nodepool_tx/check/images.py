"""Builds and uploads that no builder works on, or that nothing belongs to any more."""

from __future__ import annotations

from collections.abc import Iterator

from nodepool_tx.check.farm import Farm
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.repairs import FailImage, Remove
from nodepool_tx.model import ImageBuild, ImageState, ImageUpload
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.codec import EMPTY

__all__ = ["builds_wrong", "places_empty", "uploads_wrong"]


def builds_wrong(farm: Farm) -> Iterator[Finding]:
    """Builds that are being built by nobody."""
    for build in farm.builds:
        lock = image_paths.builds_lock(build.image)
        if build.state is ImageState.BUILDING and not farm.holders_in(lock):
            path = paths.image_build(build.image, build.id)
            yield Finding(
                code="image-build-abandoned",
                what=f"build {build.image}-{build.id}",
                path=path,
                words="it is being built, and no builder holds the lock of the image",
                repair=FailImage(build, path, lock, lock in farm.trees),
                evidence=build.mzxid,
            )


def uploads_wrong(farm: Farm) -> Iterator[Finding]:
    """Uploads that nobody makes, or whose build or provider is gone."""
    builds = {(build.image, build.id) for build in farm.builds}
    for upload in farm.uploads:
        found = _upload_wrong(upload, builds, farm)
        if found is not None:
            yield found


def _upload_wrong(upload: ImageUpload, builds: set[tuple[str, str]], farm: Farm) -> Finding | None:
    path = _path(upload)
    lock = image_paths.uploads_lock(upload.image, upload.build_id, upload.provider)
    if upload.state is ImageState.UPLOADING and not farm.holders_in(lock):
        return _of(
            "image-upload-abandoned",
            upload,
            "it is being uploaded, and no builder holds the lock for that",
            repair=FailImage(upload, path, lock, lock in farm.trees),
        )
    if upload.state is ImageState.DELETING:
        return None
    if (upload.image, upload.build_id) not in builds:
        return _of(
            "image-upload-orphaned",
            upload,
            "there is no build that it is of",
            left="new servers may be made of it; nodepool image-delete has a builder remove it "
            "from the cloud, nodepool erase forgets it",
        )
    if farm.config is not None and upload.provider not in farm.config.providers:
        return _of(
            "image-upload-not-configured",
            upload,
            f"the configuration has no provider {upload.provider}",
            left="a builder may have one; if not, remove the image by hand, then: nodepool erase "
            f"{upload.provider}",
        )
    return None


def _of(
    code: str,
    upload: ImageUpload,
    words: str,
    repair: FailImage | None = None,
    left: str = "",
) -> Finding:
    return Finding(
        code=code,
        what=f"upload {upload.id} of build {upload.image}-{upload.build_id}",
        path=_path(upload),
        provider=upload.provider,
        words=words,
        repair=repair,
        left=left,
        evidence=upload.mzxid,
    )


def _path(upload: ImageUpload | ImageBuild) -> str:
    if isinstance(upload, ImageBuild):
        return paths.image_build(upload.image, upload.id)
    return paths.image_upload(upload.image, upload.build_id, upload.provider, upload.id)


def places_empty(farm: Farm) -> Iterator[Finding]:
    """Numbers of uploads of which nothing else is left: a lock was taken that came too late."""
    for path, reason in farm.unreadable_images.items():
        place, znode = image_paths.place_of(path), farm.trees.get(path)
        if reason != EMPTY or place is None or place.upload_id is None or znode is None:
            continue
        lock = f"{path}/{image_paths.LOCK}"
        if farm.age(znode.stat.mtime / 1000) <= farm.ages.swept or farm.holders_in(lock):
            continue
        below = ((lock, farm.trees[lock].stat.version),) if lock in farm.trees else ()
        yield Finding(
            code="image-upload-empty",
            what=f"upload {place.upload_id} of build {place.image}-{place.build_id}",
            path=path,
            provider=place.provider,
            words="nothing is left of it but its number",
            repair=Remove((*below, (path, znode.stat.version))),
            evidence=znode.stat.mzxid,
        )
