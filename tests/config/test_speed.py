"""Large files are read in reasonable time, good or bad."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from nodepool_tx.config import ConfigErrors, StaticPool
from tests.config.parsing import parse, static_provider

MIB = 1024 * 1024


def test_ten_thousand_static_nodes() -> None:
    """10,000 nodes take no more than 3 seconds of processor time."""
    text = static_provider(
        "\n".join(
            f"- name: host-{number}.example.com\n"
            f"  labels: [a, b]\n"
            f"  host-key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{number}\n"
            f"  connection-port: {1 + number}\n"
            f"  timeout: 13\n"
            f"  username: zuul\n"
            f"  max-parallel-jobs: 2\n"
            for number in range(10_000)
        )
    ).encode()
    begin = time.process_time()
    config = parse(text)
    spent = time.process_time() - begin
    (pool,) = config.pools
    assert isinstance(pool, StaticPool)
    assert len(pool.nodes) == 10_000
    assert spent < 3.0


def _random_letters(letters: str) -> Callable[[], bytes]:
    """Made only where they are asked for: every process of the tests reads this file."""
    return lambda: "".join(random.Random(7).choices(letters, k=MIB)).encode()


NONSENSE: dict[str, bytes | Callable[[], bytes]] = {
    "random bytes": random.Random(7).randbytes(MIB),
    "random letters": _random_letters("abcdefghij \n"),
    "random punctuation": _random_letters("[]{}:,-?&*!|>'\"%@ \nab1"),
    "one word": b"a" * MIB,
    "one number": b"1" * MIB,
    "base 60": b"1" + b":11" * (MIB // 3),
    "open brackets": b"[" * MIB,
    "open braces": b"{a: " * (MIB // 4),
    "dashes": b"- " * (MIB // 2),
    "questions": b"? " * (MIB // 2),
    "documents": b"---\n" * (MIB // 4),
    "unknown keys": b"".join(b"key%d: 1\n" % number for number in range(MIB // 10)),
    "one key": b"labels: 1\n" * (MIB // 10),
    "wrong labels": b"labels:\n" + b"- 5\n" * (MIB // 4),
    "misspelt": b"labels:\n" + b"- {name: a, min-redy: 1}\n" * (MIB // 25),
    "parents": b"diskimages:\n"
    + b"".join(b"- {name: i%d, parent: i%d}\n" % (n + 1, n) for n in range(5_000)),
    "merged": b"x: &x {"
    + b",".join(b"k%d: 1" % number for number in range(20_000))
    + b"}\ny: {<<: ["
    + b",".join([b"*x"] * 100_000)
    + b"]}\n",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_megabyte_of_nonsense(name: str) -> None:
    """Nonsense is refused within 5 seconds of processor time."""
    nonsense = NONSENSE[name]
    text = nonsense if isinstance(nonsense, bytes) else nonsense()
    begin = time.process_time()
    with pytest.raises(ConfigErrors):
        parse(text)
    assert time.process_time() - begin < 5.0
