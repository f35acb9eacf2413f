"""One configuration, read by Nodepool 11 and by ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import yaml

from benchmarks.cached_venvs import NODEPOOL, environment
from nodepool_tx.config import Config, ConfigErrors, load_config
from tests.config.parsing import BUILT_IN
from tests.functional.reference_config import ENVIRONMENT

__all__ = ["Files", "Theirs", "read_by_nodepool", "read_by_us", "verdict_of_ours"]

#: Run by Nodepool's Python, to tell what it makes of configurations.
PROGRAM = Path(__file__).with_name("reference_config.py")
TIMEOUT = 120

_CLOUD = re.compile(r"""\bcloud: ['"]?([\w.-]+)""")
_LOGIN = {"username": "u", "password": "p", "project_name": "x", "auth_url": "http://[::1]"}


@attrs.frozen
class Files:
    """A configuration and perhaps a secure file, as text."""

    main: str
    secure: str | None = None

    def write(self, folder: Path, name: str) -> tuple[str, str | None]:
        """Their paths."""
        main = folder / f"{name}.yaml"
        main.write_text(self.main)
        if self.secure is None:
            return str(main), None
        secure = folder / f"{name}-secure.yaml"
        secure.write_text(self.secure)
        return str(main), str(secure)


@attrs.frozen
class Theirs:
    """What Nodepool 11 makes of a configuration.

    :ivar valid: what its validator says, which does not know the secure file.
    :ivar whole: everything, as far as it loads it, and None if it does not.
    :ivar providers: of OpenStack and of metastatic ones all values.
    :ivar trouble: why it is not loaded.
    """

    valid: bool
    providers: dict[str, Any] | None
    whole: dict[str, Any] | None
    trouble: str | None

    @property
    def taken(self) -> bool:
        """Whether both its validator and its loader take it."""
        return self.valid and self.whole is not None


def read_by_nodepool(every: Sequence[Files], folder: Path) -> list[Theirs]:
    """What Nodepool 11 makes of these, in one process; all clouds that they name are there."""
    pairs = [each.write(folder, str(number)) for number, each in enumerate(every)]
    clouds = {cloud for each in every for cloud in _CLOUD.findall(each.main)}
    client = folder / "clouds-of-all.yaml"
    client.write_text(yaml.safe_dump({"clouds": {name: {"auth": _LOGIN} for name in clouds}}))
    done = subprocess.run(
        [str(environment(NODEPOOL) / "python"), "-I", str(PROGRAM)],
        env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(client)},
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Theirs(**answer) for answer in json.loads(done.stdout)]


def read_by_us(files: Files, folder: Path) -> Config:
    """Read a configuration as the launcher does.

    :raises ConfigErrors: it is refused.
    """
    return load_config(*files.write(folder, "ours"), ENVIRONMENT, drivers=BUILT_IN)


def verdict_of_ours(files: Files, folder: Path) -> Config | ConfigErrors:
    """The configuration, or why it is refused."""
    try:
        return read_by_us(files, folder)
    except ConfigErrors as errors:
        return errors
