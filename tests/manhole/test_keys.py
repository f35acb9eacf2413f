"""The host's key, and the keys of those who may log in."""

from __future__ import annotations

import os
import pathlib
import stat

import pytest
from twisted.conch.ssh.keys import Key

from nodepool_tx.manhole.keys import AuthorizedKeys, UnusableKey, host_key
from tests.functional.launcher.console import Keys


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "state" / "host_key"


def test_it_is_made_once(path: pathlib.Path) -> None:
    """For its owner alone, of type ed25519, and the same ever after."""
    key = host_key(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert key.type() == "Ed25519"
    assert host_key(str(path)) == key
    assert os.listdir(path.parent) == ["host_key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_one_that_others_can_read_is_refused(path: pathlib.Path, mode: int) -> None:
    """And it is said how to mend it."""
    host_key(str(path))
    path.chmod(mode)
    with pytest.raises(UnusableKey, match="chmod 0600"):
        host_key(str(path))


@pytest.mark.parametrize("content", [b"", b"garbage", b"ssh-ed25519 AAAA", b"\0\xff" * 100])
def test_one_that_makes_no_sense_is_refused(path: pathlib.Path, content: bytes) -> None:
    """It is left as it is: somebody may have put it there for a reason."""
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UnusableKey, match="no private key"):
        host_key(str(path))
    assert path.read_bytes() == content


def test_other_things_are_refused(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A public key, one of another type, a directory, a pipe, a way that leads nowhere."""
    ed, rsa = Keys.make(tmp_path / "ed", "x"), Keys.make(tmp_path / "rsa", "x", "rsa")
    public = pathlib.Path(f"{ed.path}.pub")
    public.chmod(0o600)
    os.mkfifo(tmp_path / "pipe", 0o600)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    for bad in (public, rsa.path, tmp_path, tmp_path / "pipe", dangling):
        with pytest.raises(UnusableKey):
            host_key(str(bad))
    assert host_key(str(ed.path)).type() == "Ed25519"


def blob(keys: Keys) -> bytes:
    return Key.fromString(keys.public.encode()).blob()


def test_authorized_keys(tmp_path: pathlib.Path) -> None:
    """Comments name users; options, weak keys and rubbish are left out."""
    kinds = ("ed25519", "ecdsa", "rsa")
    good = [Keys.make(tmp_path / kind, f"{kind} of mine", kind) for kind in kinds]
    limited = Keys.make(tmp_path / "limited", "limited")
    file = tmp_path / "authorized_keys"
    file.write_text(
        "# all of us\n\n"
        + "".join(keys.public for keys in good)
        + f'from="10.0.0.1" {limited.public}'
        + "ssh-ed25519 AAAA broken\nrubbish\nssh-dss AAAAB3NzaC1kc3M= old\n\xff\n"
    )
    file.chmod(0o600)
    keys = AuthorizedKeys(str(file))
    assert [keys.user_of(blob(each)) for each in good] == [f"{kind} of mine" for kind in kinds]
    assert keys.user_of(blob(limited)) is None
    assert len(keys) == 3


def test_a_key_without_a_comment(tmp_path: pathlib.Path) -> None:
    """Its fingerprint stands for whoever has it."""
    nameless = Keys.make(tmp_path / "k", "")
    file = tmp_path / "authorized_keys"
    file.write_text(nameless.public)
    file.chmod(0o600)
    assert ":" in (AuthorizedKeys(str(file)).user_of(blob(nameless)) or "")


def test_changes_are_noticed(tmp_path: pathlib.Path) -> None:
    """A key that is taken out is of no use any more, nor is any when the file is gone."""
    one, two = Keys.make(tmp_path / "1", "one"), Keys.make(tmp_path / "2", "two")
    file = tmp_path / "authorized_keys"
    file.write_text(one.public)
    file.chmod(0o600)
    keys = AuthorizedKeys(str(file))
    assert keys.user_of(blob(one)) == "one"
    file.write_text(two.public)
    assert (keys.user_of(blob(one)), keys.user_of(blob(two))) == (None, "two")
    file.chmod(0o620)
    assert keys.user_of(blob(two)) is None
    file.chmod(0o640)
    assert keys.user_of(blob(two)) == "two"
    file.unlink()
    assert keys.user_of(blob(two)) is None
