"""Images for the command line to work with."""

from __future__ import annotations

from typing import Any

from nodepool_tx.model import ImageBuild, ImageState, ImageUpload
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.codec import encode_image_build, encode_image_upload
from tests.cli.stage import CONFIG, CommandLineTestCase

__all__ = ["ImageTestCase"]

_CONFIG = (
    CONFIG
    + """\
diskimages:
  - name: base
    abstract: true
  - name: debian
    parent: base
  - name: alma
    pause: true
"""
)


class ImageTestCase(CommandLineTestCase):
    """The images debian, and alma which is paused, are configured."""

    def setUp(self) -> None:
        super().setUp()
        self.config.write_text(_CONFIG)

    def exists(self, path: str) -> bool:
        return self.inspector.stat(path) is not None

    def add_build(
        self, image: str, build_id: str, state: str = "ready", later: Any = None, **more: Any
    ) -> None:
        """A build; ``later`` is a key that nobody knows yet."""
        fields: dict[str, Any] = {
            "builder": "nb01",
            "builder_id": "id01",
            "formats": ("qcow2", "raw"),
            "state_time": self.clock.seconds(),
            "extra": {"later": later} if later else {},
            **more,
        }
        build = ImageBuild(image=image, id=build_id, state=ImageState(state), **fields)
        self.inspector.create(paths.image_build(image, build_id), encode_image_build(build))
        self.settle()

    def add_upload(
        self,
        image: str,
        build_id: str,
        provider: str,
        state: str = "ready",
        later: Any = None,
        **more: Any,
    ) -> str:
        """An upload; its id."""
        fields: dict[str, Any] = {
            "external_id": "cloud-1",
            "external_name": f"{image}-170",
            "state_time": self.clock.seconds(),
            "extra": {"later": later} if later else {},
            **more,
        }
        upload = ImageUpload(
            image=image,
            build_id=build_id,
            provider=provider,
            state=ImageState(state),
            format="qcow2",
            **fields,
        )
        path = self.inspector.create(
            f"{image_paths.uploads(image, build_id, provider)}/",
            encode_image_upload(upload),
            sequence=True,
        )
        self.settle()
        return path.rpartition("/")[2]
