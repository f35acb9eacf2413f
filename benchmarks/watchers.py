"""People who watch: event streams that are read and thrown away, in a process of its own.

`python -m benchmarks.watchers PORT COUNT SLOW` opens `COUNT` streams that are read at once and
`SLOW` of which one byte a second is read.  It says `open` when all have begun, and the bytes read
so far on each line of standard input.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

ASK = b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
BUFFER = bytearray(1 << 20)


def open_stream(port: int, receive_buffer: int | None = None) -> socket.socket:
    """A stream that has begun.

    :raises RuntimeError: it was refused.
    """
    stream = socket.socket()
    if receive_buffer is not None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    stream.connect(("127.0.0.1", port))
    stream.sendall(ASK)
    head = stream.recv(12)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"no stream: {head!r}")
    return stream


def main() -> None:
    """The program."""
    port, count, slow = map(int, sys.argv[1:])
    selector = selectors.DefaultSelector()
    for _ in range(count):
        selector.register(open_stream(port), selectors.EVENT_READ, "quick")
    slow_ones = [open_stream(port, 4096) for _ in range(slow)]
    selector.register(sys.stdin, selectors.EVENT_READ, "asked")
    print("open", flush=True)
    received, next_byte = 0, time.monotonic()
    while True:
        for key, _ in selector.select(0.2):
            if key.data == "asked":
                if not sys.stdin.readline():
                    return
                print(received, flush=True)
            elif (size := key.fileobj.recv_into(BUFFER)) > 0:  # type: ignore[union-attr]
                received += size
            else:
                raise RuntimeError("a stream has ended")
        if time.monotonic() >= next_byte:
            next_byte += 1.0
            for stream in slow_ones:
                stream.recv(1)


if __name__ == "__main__":
    main()
