"""Programs of ours that begin in a moment: as forks of one that has imported all they need.

A launcher or a command line takes half a second of the processor to import
what it consists of, and the tests start hundreds of them.  :func:`warm` has
``subprocess`` start those as copies of a process that waits with everything
imported and nothing begun: no reactor, no thread, no file, no setting.  They
are processes of their own in every other way, and children of ours: with
their own arguments, environment, directory, files and signals.

Whatever is started in another way, or with an environment that the
interpreter itself looks at, begins as ever; so does everything on systems
where a process cannot be made the child of its maker's parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib
import inspect
import io
import marshal
import os
import pathlib
import pkgutil
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["PROGRAMS", "end_with_parent", "warm"]

#: What may begin so: ``python -c`` with one of these, and any words.
PROGRAMS = (
    "import sys; from nodepool_tx.cli.main import main; sys.exit(main())",
    "from twisted.scripts.twistd import run; run()",
)
_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SERVER = "from tests.servers.warm import _serve; exec(_serve(%d, %r), {'__name__': '__main__'})"
#: ``clone`` by the machine, and the flag that makes a sibling of the caller.
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT = 0x8000
#: What hardly any test starts, or is none of theirs.
_LEFT_OUT = ("nodepool_tx.providers.openstack", "nodepool_tx.testing")
#: What the interpreter has read before anything of ours runs; and what of it may be missing.
_EARLY = ("PYTHON", "LD_", "LC_", "LANG")
_HARMLESS = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def end_with_parent() -> None:
    """Have the kernel end this process (SIGTERM) when the one that started it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@contextlib.contextmanager
def warm() -> Iterator[None]:
    """While this is open, programs of ours begin as copies of one that is ready."""
    if sys.platform != "linux" or platform.machine() not in _CLONE:
        yield
        return
    original = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    signature = inspect.signature(original)
    maker = _Maker()

    @functools.wraps(original)
    def execute(self: Any, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs).arguments
        if not maker.start(self, given):
            original(self, *args, **kwargs)

    subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]
    try:
        yield
    finally:
        subprocess.Popen._execute_child = original  # type: ignore[attr-defined]
        maker.close()


class _Maker:
    """Our side: has copies made by the process that waits, which begins when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._environ: dict[str, str] = {}

    def start(self, job: Any, given: Mapping[str, Any]) -> bool:
        """Start what ``Popen`` was asked for; False if that is for another way to do."""
        words = given["args"]
        environ = dict(os.environ if given["env"] is None else given["env"])
        if not (
            isinstance(words, (list, tuple))
            and list(words[:2]) == [sys.executable, "-c"]
            and words[2] in PROGRAMS
            and given["preexec_fn"] in (None, end_with_parent)
            and not given["pass_fds"]
            and given["close_fds"]
            and given.get("process_group", -1) in (None, -1)
            and given["umask"] in (None, -1)
            and all(given[name] is None for name in ("uid", "gid", "gids"))
        ):
            return False
        with self._lock:
            line = self._begun()
            if line is None or not self._same_start(environ):
                return False
            request = {
                "words": ["-c", *map(os.fspath, words[3:])],
                "program": words[2],
                "environ": environ,
                "cwd": os.fspath(given["cwd"] or os.getcwd()),
                "session": bool(given["start_new_session"]),
                "ends": given["preexec_fn"] is end_with_parent,
            }
            pipes = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
            files = [number if pipe == -1 else pipe for number, pipe in enumerate(pipes)]
            data = marshal.dumps(request)
            socket.send_fds(line, [len(data).to_bytes(4, "big")], files)
            line.sendall(data)
            job.pid = int.from_bytes(_exactly(line, 4), "big")
        job._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        job._close_pipe_fds(*(given[name] for name in ends))
        return True

    def _same_start(self, environ: Mapping[str, str]) -> bool:
        ours, theirs = (
            {k: v for k, v in e.items() if k.startswith(_EARLY)} for e in (self._environ, environ)
        )
        missing = ours.keys() - theirs.keys()
        return missing <= _HARMLESS and theirs.items() <= ours.items()

    def _begun(self) -> socket.socket | None:
        # Who asks for the parent's end to be its own means the thread that began this.
        if self._line is None and threading.current_thread() is threading.main_thread():
            self._line, theirs = socket.socketpair()
            self._environ = dict(os.environ)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _SERVER % (theirs.fileno(), PROGRAMS)],
                    cwd=_ROOT,
                    # Pipes: what is written to need not be something to seek in.
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    pass_fds=[theirs.fileno()],
                )
        return self._line

    def close(self) -> None:
        if self._line is not None and self._process is not None:
            self._line.close()
            self._process.communicate()


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = line.recv(size - len(data))
        if not more:
            raise EOFError("the other side has ended")
        data += more
    return data


def _serve(number: int, texts: tuple[str, ...]) -> Any:
    """Wait for jobs; returns in each copy, with the program that it is to run."""
    import twisted.internet.epollreactor  # noqa: F401
    from twisted.application.service import IServiceMaker
    from twisted.plugin import getPlugins
    from twisted.scripts import twistd  # noqa: F401

    import nodepool_tx

    # Launchers import late what only some configurations need.
    for module in pkgutil.walk_packages(nodepool_tx.__path__, "nodepool_tx."):
        if not module.name.startswith(_LEFT_OUT):
            importlib.import_module(module.name)
    list(getPlugins(IServiceMaker))
    if "twisted.internet.reactor" in sys.modules or threading.active_count() > 1:
        raise RuntimeError("something has begun already")
    programs = {text: compile(text, "<string>", "exec") for text in texts}
    line = socket.socket(fileno=number)
    gc.collect()
    # Copies need not look at what they all share.
    gc.freeze()
    while True:
        size, files, _, _ = socket.recv_fds(line, 4, 3)
        if not size:
            os._exit(0)
        size += _exactly(line, 4 - len(size)) if len(size) < 4 else b""
        request = marshal.loads(_exactly(line, int.from_bytes(size, "big")))
        pid = _fork_sibling()
        if not pid:
            line.close()
            _become(request, files)
            return programs[request["program"]]
        for file in files:
            os.close(file)
        line.sendall(pid.to_bytes(4, "big"))


def _fork_sibling() -> int:
    """As ``os.fork``, but the new process is our parent's child."""
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    flags = ctypes.c_long(_CLONE_PARENT | signal.SIGCHLD)
    zero = ctypes.c_long(0)
    system = ctypes.PyDLL(None, use_errno=True)
    system.syscall.restype = ctypes.c_long
    pid: int = system.syscall(
        ctypes.c_long(_CLONE[platform.machine()]), flags, zero, zero, zero, zero
    )
    if not pid:
        python.PyOS_AfterFork_Child()
        return 0
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone")
    return pid


def _become(request: Mapping[str, Any], files: list[int]) -> None:
    """Be what was asked for, in all but the program."""
    if request["session"]:
        os.setsid()
    if request["ends"]:
        end_with_parent()
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, max(files) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    sys.argv[:] = request["words"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=os.isatty(1))
