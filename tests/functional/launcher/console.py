"""OpenSSH's client at the launcher's console: commands, and a terminal to type at."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

__all__ = ["Answer", "Keys", "Ssh", "Terminal"]

_ERASE = "\r\x1b[2K"
_PIECE = re.compile(
    r"\r\x1b\[2K|\x1b\[[0-9;?]*[A-Za-z]|\r\n|[^\r\x1b]+"
    # A carriage return by itself, once it is certain that it is one.
    r"|\r(?=[^\n\x1b])|\r(?=\x1b\[(?!2K|2?\Z))"
)


@attrs.frozen
class Answer:
    """What a command came to."""

    status: int
    out: str
    error: str


@attrs.frozen
class Keys:
    """A key pair, made for one test."""

    path: pathlib.Path

    @classmethod
    def make(cls, path: pathlib.Path, comment: str, kind: str = "ed25519") -> Keys:
        """Have ssh-keygen make one."""
        words = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(path)]
        subprocess.run(words, check=True)
        return cls(path)

    @property
    def public(self) -> str:
        """Its line for a file of authorized keys."""
        return pathlib.Path(f"{self.path}.pub").read_text()


@attrs.define
class Ssh:
    """How the client is called.

    :ivar known_hosts: a file with the key that the console is to have.
    """

    port: int
    known_hosts: pathlib.Path
    directory: pathlib.Path

    def command(self, user: str, keys: Keys | None, options: Sequence[str] = ()) -> list[str]:
        """The words of a command line, to which those for the console are added."""
        words = [
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self.known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "NumberOfPasswordPrompts=1",
            "ConnectTimeout=10",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            f"PreferredAuthentications={'publickey' if keys else 'password'}",
            *options,
        ]
        identity = ["-i", str(keys.path)] if keys else []
        settings = [word for option in words for word in ("-o", option)]
        where = ["-p", str(self.port), f"{user}@127.0.0.1"]
        return ["ssh", "-F", "/dev/null", *identity, *settings, *where]

    def run(
        self,
        *words: str,
        user: str = "me",
        keys: Keys | None = None,
        password: str = "",
        options: Sequence[str] = (),
        flags: Sequence[str] = (),
        patience: float = 30.0,
    ) -> Deferred[Answer]:
        """Run a command at the console."""
        environ = {**os.environ, **self._asking(password)}
        command = [*self.command(user, keys, options)[:1], *flags]
        command += [*self.command(user, keys, options)[1:], *words]

        def work() -> Answer:
            done = subprocess.run(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=patience,
            )
            return Answer(done.returncode, done.stdout, done.stderr)

        return deferToThread(work)

    def _asking(self, password: str) -> Mapping[str, str]:
        """Has ssh ask a program for the password."""
        program = self.directory / "askpass"
        if not program.exists():
            program.write_text('#!/bin/sh\nprintf "%s\\n" "$PASSWORD"\n')
            program.chmod(0o700)
        return {
            "SSH_ASKPASS": str(program),
            "SSH_ASKPASS_REQUIRE": "force",
            "PASSWORD": password,
            "DISPLAY": ":0",
        }

    def terminal(
        self, user: str = "me", keys: Keys | None = None, width: int = 100, height: int = 30
    ) -> Terminal:
        """Somebody at a terminal of that size."""
        return Terminal(self.command(user, keys), width, height)


class Terminal:
    """A pseudo-terminal with ssh in it."""

    def __init__(self, command: Sequence[str], width: int, height: int) -> None:
        self._master, slave = pty.openpty()
        self._seen = ""
        self._raw = ""
        self.resize(width, height)
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def _read(self) -> None:
        """Take what has come, as a terminal would show it."""
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(self._master, 65536):
                self._raw += data.decode(errors="replace")
        while piece := _PIECE.match(self._raw):
            self._raw = self._raw[piece.end() :]
            text = piece.group()
            if text == _ERASE:
                self._seen = self._seen[: self._seen.rfind("\n") + 1]
            elif text == "\r\n":
                self._seen += "\n"
            elif text[0] not in "\r\x1b":
                self._seen += text

    async def until(self, text: str, patience: float = 15.0) -> str:
        """Wait until a text is shown; gives all that was shown before it and with it."""
        deadline = time.monotonic() + patience
        while text not in self._seen:
            self._read()
            if text in self._seen:
                break
            assert time.monotonic() < deadline, f"{text!r} is not in {self._seen!r}"
            await deferLater(reactor, 0.01)
        before, found, self._seen = self._seen.partition(text)
        return before + found

    async def ask(self, line: str, patience: float = 15.0) -> str:
        """Type a line; gives what is shown until the next prompt."""
        self.type(line + "\r")
        await self.until(line + "\n", patience)
        return await self.until(">>> ", patience)

    async def ended(self, patience: float = 15.0) -> int:
        """Wait for the client's end; its exit status."""
        deadline = time.monotonic() + patience
        while self.process.poll() is None:
            self._read()
            assert time.monotonic() < deadline, f"it goes on: {self._seen!r}"
            await deferLater(reactor, 0.01)
        self._read()
        return self.process.returncode

    @property
    def shown(self) -> str:
        """What was shown and not waited for."""
        self._read()
        return self._seen

    def close(self) -> None:
        """End it, however it stands."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        with contextlib.suppress(OSError):
            os.close(self._master)
