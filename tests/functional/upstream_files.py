"""The files of Nodepool 11's source distribution that are configurations, or hold one.

pip fetches the distribution once; it is kept beside the environments that the
benchmarks keep, and read out of the archive.
"""

from __future__ import annotations

import hashlib
import os
import re
import string
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from benchmarks.cached_venvs import cache_directory

__all__ = [
    "FIXTURES",
    "RELEASE",
    "SECURE",
    "completed",
    "documented",
    "files",
    "filled_in",
    "fixtures",
    "others",
    "top_level_keys",
]

RELEASE = "nodepool-11.0.0"
SHA256 = "d5c998f6cc51fefae3aa40fc2193fca91c595576fa9773bbe3542cbd34b10825"
FIXTURES = "nodepool/tests/fixtures/"

#: The only secure file that its tests use.
SECURE = "secure_file_secure.yaml"

#: What Nodepool's tests fill in before they use a file; the rest gets its name.
FILLED_IN = {"zookeeper_port": "2281", "zookeeper_chroot": "/test", "port": "8080"}

#: Files that its tests use without filling in anything.
RAW = ("clouds.yaml", "config_validate/")

_KINDS = (".yaml", ".yml", ".j2", ".conf", ".rst")
_TOP_LEVEL = frozenset(
    {
        *("webapp", "elements-dir", "images-dir", "build-log-dir", "build-log-retention"),
        *("zookeeper-servers", "zookeeper-tls", "zookeeper-timeout", "providers", "labels"),
        *("diskimages", "max-hold-age", "tenant-resource-limits"),
    }
)


def _download(archive: Path) -> None:
    """Let pip fetch the source distribution, and nothing else."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--disable-pip-version-check"]
        command += ["--dest", folder, RELEASE.replace("-", "==")]
        subprocess.run(command, check=True, timeout=300)
        os.replace(Path(folder) / archive.name, archive)


@cache
def files() -> Mapping[str, str]:
    """Every file of it that could be a configuration or show one, by path."""
    archive = cache_directory() / f"{RELEASE}.tar.gz"
    if not archive.exists():
        _download(archive)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256
    found: dict[str, str] = {}
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile() and member.name.endswith(_KINDS):
                stream = members.extractfile(member)
                assert stream is not None
                found[member.name.removeprefix(f"{RELEASE}/")] = stream.read().decode()
    return found


class _Names(string.Formatter):
    """Fills in a placeholder's own name where nothing else is known."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return kwargs.get(str(key), str(key))


def filled_in(name: str, text: str) -> str:
    """A file of its tests as they use it."""
    if name.startswith(RAW) and "metastatic" not in name:
        return text
    if name == "gce.yaml":
        server = {"host": "zookeeper_host", "port": 2281, "chroot": "/test"}
        tls = {kind: f"zookeeper_{kind}" for kind in ("ca", "cert", "key")}
        replaced = {"zookeeper-servers": [server], "zookeeper-tls": tls}
        return yaml.safe_dump({**yaml.safe_load(text), **replaced})
    return _Names().vformat(text, (), FILLED_IN)


@cache
def fixtures() -> Mapping[str, str]:
    """The files of its tests, filled in, by the path below its folder of them."""
    found = {
        path.removeprefix(FIXTURES): text
        for path, text in files().items()
        if path.startswith(FIXTURES) and not path.endswith(".rst")
    }
    return {name: filled_in(name, text) for name, text in found.items()}


def top_level_keys(text: str) -> frozenset[str]:
    """Which of a configuration's own keys a text has at its top; none if it is no YAML."""
    try:
        document = yaml.safe_load(re.sub(r"%\(\w+\)", "0", text))
    except yaml.YAMLError:
        return frozenset()
    return frozenset(document) & _TOP_LEVEL if isinstance(document, dict) else frozenset()


def _rendered(template: str) -> str:
    """A template of Ansible's with its variables named after themselves, and no options."""
    plain = re.sub(r"{% (if|for) .*?{% end\1 %}\n?", "", template, flags=re.DOTALL)
    return re.sub(r"{{ *([\w.]+).*? *}}", lambda name: name[1], plain)


@cache
def others() -> Mapping[str, str]:
    """Configurations that are no files of its tests, by path; templates are filled in."""
    rest = {
        path: _rendered(text) if path.endswith(".j2") else text
        for path, text in files().items()
        if not path.startswith((FIXTURES, "doc/")) and not path.endswith(".rst")
    }
    return {path: text for path, text in rest.items() if top_level_keys(text)}


@cache
def documented() -> Mapping[str, str]:
    """The examples of its documentation, by page and number."""
    found: dict[str, str] = {}
    for path, text in files().items():
        if path.startswith("doc/"):
            blocks = [block for block in _blocks(text) if top_level_keys(block)]
            found |= {f"{path}#{number}": block for number, block in enumerate(blocks)}
    return found


def _blocks(page: str) -> Iterator[str]:
    """The blocks of YAML on a page, without what begins further to the left after them."""
    for match in re.finditer(r"code-block:: yaml\n\n((?: .*\n|\n)+)", page):
        lines = match[1].splitlines()
        margin = len(lines[0]) - len(lines[0].lstrip())
        kept = []
        for line in lines:
            if line.strip() and len(line) - len(line.lstrip()) < margin:
                break
            kept.append(line)
        yield dedent("\n".join(kept)) + "\n"


def completed(example: str) -> str:
    """An example with all labels and disk images that it uses, defined at the top."""
    document = yaml.safe_load(example)
    labels: set[str] = set()
    images: set[str] = set()
    for provider in document.get("providers", ()):
        images |= {image["name"] for image in provider.get("diskimages", ())}
        for pool in provider.get("pools", ()):
            for entry in [*pool.get("labels", ()), *pool.get("nodes", ())]:
                used = entry.get("labels", entry["name"])
                labels |= set([used] if isinstance(used, str) else used)
                images |= {entry["diskimage"]} if "diskimage" in entry else set()
                labels |= {entry["backing-label"]} if "backing-label" in entry else set()
    defined = {
        "labels": [{"name": name} for name in sorted(labels)],
        "diskimages": [{"name": name} for name in sorted(images)],
    }
    return yaml.safe_dump({**defined, **document})
