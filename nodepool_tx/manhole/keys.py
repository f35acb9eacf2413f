"""The console's own key, and the keys of those who may log in."""

from __future__ import annotations

import os
import stat

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.conch.ssh.keys import EncryptedKeyError, Key
from twisted.logger import Logger

__all__ = ["AuthorizedKeys", "UnusableKey", "host_key"]

#: Bytes of a file that is read at all.
LONGEST_FILE = 1_000_000
LEAST_RSA = 2048


class UnusableKey(Exception):
    """A file of keys cannot be used; the text says which and why."""


def host_key(path: str) -> Key:
    """The key the console shows to its visitors; made when there is none.

    :raises UnusableKey: what is there cannot be used, or nothing can be made.
    """
    try:
        if not os.path.lexists(path):
            _make(path)
        data = _read(path, others=0o077)
    except OSError as e:
        raise UnusableKey(f"the host key {path} cannot be used: {e.strerror or e}") from None
    try:
        key: Key = Key.fromString(data)
    except EncryptedKeyError:
        raise UnusableKey(f"the host key {path} has a passphrase") from None
    except Exception:
        # The parser fails in many ways on what is no key.
        raise UnusableKey(f"the host key {path} is no private key") from None
    if key.isPublic() or key.type() != "Ed25519":
        raise UnusableKey(f"the host key {path} is no private key of type ed25519")
    return key


def _make(path: str) -> None:
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    data = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    # Written under another name, so that a half-written one is never found.
    beside = f"{path}.new"
    if os.path.lexists(beside):
        os.unlink(beside)
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    os.rename(beside, path)


def _read(path: str, others: int) -> bytes:
    """What a file holds, if nobody else could have put it there.

    :param others: permissions that it must not have.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnusableKey(f"{path} is no file")
        if status.st_uid not in (0, os.geteuid()):
            raise UnusableKey(f"{path} belongs to somebody else, user {status.st_uid}")
        mode = stat.S_IMODE(status.st_mode)
        if mode & others:
            raise UnusableKey(
                f"{path} has the permissions {mode:04o}, which let others in: "
                f"chmod {mode & ~others & 0o777:04o} {path}"
            )
        if status.st_size > LONGEST_FILE:
            raise UnusableKey(f"{path} is too large")
        return source.read(LONGEST_FILE)


@attrs.frozen
class _Look:
    """A file as it was when it was read."""

    changed: int
    size: int
    inode: int
    mode: int
    owner: int


class AuthorizedKeys:
    """A file in OpenSSH's format, read again whenever it has changed.

    Lines with options are left out: a restriction that is not kept would be
    worse than a key that does not work.
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: _Look | None = None
        self._users: dict[bytes, str] = {}
        self._trouble = ""

    def user_of(self, blob: bytes) -> str | None:
        """Whose key it is, after the key's comment; None if it may not log in."""
        self._refresh()
        return self._users.get(blob)

    def __len__(self) -> int:
        self._refresh()
        return len(self._users)

    def _refresh(self) -> None:
        try:
            found = os.stat(self._path)
            look = _Look(
                found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_uid
            )
            if look == self._seen:
                return
            data = _read(self._path, others=0o022)
        except (OSError, UnusableKey) as e:
            self._users, self._seen = {}, None
            trouble = f"{self._path}: {e.strerror or e}" if isinstance(e, OSError) else str(e)
            if trouble != self._trouble:
                self._trouble = trouble
                self._log.error("nobody can log in with a key: {reason}", reason=trouble)
            return
        self._trouble = ""
        self._seen = look
        self._users = self._parse(data)
        self._log.info(
            "{count} keys may log in to the console, from {path}",
            count=len(self._users),
            path=self._path,
        )

    def _parse(self, data: bytes) -> dict[bytes, str]:
        users: dict[bytes, str] = {}
        for number, raw in enumerate(data.split(b"\n"), 1):
            line = raw.decode("utf-8", "replace").strip()
            if not line or line.startswith("#"):
                continue
            try:
                key, user = _entry(line)
            except UnusableKey as e:
                self._log.warn(
                    "{path}, line {line} is left out: {reason}",
                    path=self._path,
                    line=number,
                    reason=str(e),
                )
            else:
                users[key.blob()] = user
        return users


def _entry(line: str) -> tuple[Key, str]:
    kind, _, rest = line.partition(" ")
    if kind.startswith("sk-"):
        raise UnusableKey("keys on security tokens are not taken")
    if not kind.startswith(("ssh-", "ecdsa-")) or "=" in kind:
        raise UnusableKey("it has options, which the console does not know, or is no key")
    encoded, _, comment = rest.strip().partition(" ")
    try:
        key = Key.fromString(f"{kind} {encoded}".encode())
    except Exception:
        # The parser fails in many ways on what is no key.
        raise UnusableKey("it is no public key") from None
    if key.type() not in ("Ed25519", "EC", "RSA") or not key.isPublic():
        raise UnusableKey("keys of its type are not taken")
    if key.type() == "RSA" and key.size() < LEAST_RSA:
        raise UnusableKey(f"it has less than {LEAST_RSA} bits")
    name = "".join(letter for letter in comment.strip() if letter.isprintable())[:100]
    return key, name or key.fingerprint()
