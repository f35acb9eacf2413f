"""Looking names up."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import nodepool_tx
from nodepool_tx.names import AT_ONCE, MOST, PROMPT, NameResolver, install

V4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))
V6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::7", 0, 0, 3))


@implementer(IResolutionReceiver)
class Receiver:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.addresses: list[IAddress] = []
        self.done: Deferred[list[IAddress]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self.name = resolutionInProgress.name

    def addressResolved(self, address: IAddress) -> None:
        self.addresses.append(address)

    def resolutionComplete(self) -> None:
        self.done.callback(self.addresses)


class ThreadlessReactor(Clock):
    def callFromThread(self, work: Callable[..., Any], *args: Any) -> None:
        self.callLater(0, work, *args)


class ResolverTests(SynchronousTestCase):
    """With work that is done when the test says so."""

    def setUp(self) -> None:
        self.reactor = ThreadlessReactor()
        self.threads: dict[str, Callable[[], None]] = {}
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.resolver = NameResolver(self.reactor, self.getaddrinfo, self.spawn)

    def getaddrinfo(self, host: str, port: int, family: int, kind: int) -> Any:
        answer = self.answers.get(host, [V4])
        if isinstance(answer, Exception):
            raise answer
        return [found for found in answer if family in (socket.AF_UNSPEC, found[0])]

    def spawn(self, work: Callable[[], None]) -> None:
        # Its name is known only inside.
        name = work.__closure__[0].cell_contents.name  # type: ignore[index]
        self.asked.append(name)
        self.threads[name] = work

    def ask(self, name: str, **more: Any) -> Receiver:
        receiver = Receiver()
        self.resolver.resolveHostName(receiver, name, 22, **more)
        return receiver

    def answer(self, *names: str) -> None:
        for name in names:
            self.threads.pop(name)()
        self.reactor.advance(0)

    def test_addresses(self) -> None:
        """All addresses of a name are told, with the port that was asked for."""
        self.answers["web"] = [V6, V4]
        receiver = self.ask("web")
        self.assertNoResult(receiver.done)
        self.answer("web")
        self.assertEqual(
            self.successResultOf(receiver.done),
            [IPv6Address("TCP", "2001:db8::7", 22, 0, 3), IPv4Address("TCP", "192.0.2.7", 22)],
        )

    def test_families(self) -> None:
        """Only the kind that is wanted is looked for."""
        self.answers["web"] = [V6, V4]
        four, six = self.ask("web", addressTypes=[IPv4Address]), Receiver()
        self.answer("web")
        self.resolver.resolveHostName(six, "web", 22, [IPv6Address])
        self.answer("web")
        self.assertEqual([type(a) for a in self.successResultOf(four.done)], [IPv4Address])
        self.assertEqual([type(a) for a in self.successResultOf(six.done)], [IPv6Address])

    def test_unknown(self) -> None:
        """A name that leads nowhere has no addresses, whatever the reason."""
        for reason in (socket.gaierror(-2, "unknown"), UnicodeError("x"), ValueError("y")):
            self.answers["web"] = reason
            receiver = self.ask("web")
            self.answer("web")
            self.assertEqual(self.successResultOf(receiver.done), [])

    def test_asked_together(self) -> None:
        """A name is looked up once for all who ask meanwhile, and then anew."""
        one, two = self.ask("web"), self.ask("web")
        self.answer("web")
        self.assertEqual(self.successResultOf(one.done), self.successResultOf(two.done))
        self.assertEqual(self.asked, ["web"])
        self.ask("web")
        self.assertEqual(self.asked, ["web", "web"])

    def test_one_who_does_not_listen(self) -> None:
        """One that fails over the answer does not keep it from the others."""
        one, two = self.ask("web"), self.ask("web")
        one.done.callback([])
        self.answer("web")
        self.successResultOf(two.done)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_slow_names_let_others_pass(self) -> None:
        """Those that take long give up their places, and hold up nobody for longer."""
        slow = [f"slow-{n}" for n in range(3 * AT_ONCE)]
        for name in slow:
            self.ask(name)
        self.ask("web")
        self.assertEqual(self.asked, slow[:AT_ONCE])
        for _ in range(3):
            self.assertNotIn("web", self.asked)
            self.reactor.advance(PROMPT)
        self.assertEqual(self.asked, [*slow, "web"])

    def test_prompt_names_follow_at_once(self) -> None:
        """A place is free the moment there is an answer."""
        names = [f"web-{n}" for n in range(3 * AT_ONCE)]
        for name in names:
            self.ask(name)
        self.answer(*names[:7])
        self.assertEqual(self.asked, names[: AT_ONCE + 7])

    def test_names_that_were_good_go_first(self) -> None:
        """What had an answer the last time waits behind none that had not."""
        self.ask("web")
        self.answer("web")
        slow = [f"slow-{n}" for n in range(3 * AT_ONCE)]
        for name in slow:
            self.ask(name)
        self.ask("web")
        self.reactor.advance(PROMPT)
        self.assertEqual(self.asked[1 + AT_ONCE], "web")
        self.answers["web"] = ()
        self.answer("web")
        self.ask("web")
        self.reactor.advance(PROMPT)
        self.assertEqual(self.asked.count("web"), 2)

    def test_never_more_than_so_many(self) -> None:
        """However slow all are, threads are bounded, and good names still find a place."""
        self.ask("web")
        self.answer("web")
        for number in range(2 * MOST):
            self.ask(f"slow-{number}")
        for _ in range(2 * MOST // AT_ONCE):
            self.reactor.advance(PROMPT)
        self.assertEqual(len(self.threads), MOST - AT_ONCE)
        receiver = self.ask("web")
        self.answer("web")
        self.successResultOf(receiver.done)
        self.answer("slow-0", "slow-1")
        self.assertEqual(len(self.threads), MOST - AT_ONCE)

    def test_no_thread_to_be_had(self) -> None:
        """Then the name leads nowhere for now."""

        def refuse(work: Callable[[], None]) -> None:
            raise RuntimeError("can't start new thread")

        self.resolver = NameResolver(self.reactor, self.getaddrinfo, refuse)
        receiver = self.ask("web")
        self.reactor.advance(0)
        self.assertEqual(self.successResultOf(receiver.done), [])


PROGRAM = """
import socket, time
from twisted.internet import reactor
from nodepool_tx import names
from nodepool_tx.nodescan.connect import look_up
from nodepool_tx.nodescan.scanner import ReactorScanner
from twisted.internet.defer import Deferred

def getaddrinfo(host, *args):
    if host != "web":
        time.sleep(60)
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))]

def stop(found):
    print(found[0].host)
    reactor.stop()

reactor.installNameResolver(names.NameResolver(reactor, getaddrinfo))
for number in range(30):
    ReactorScanner(reactor).probe(f"slow-{number}.example.com", 22, 50).addErrback(lambda _: None)
Deferred.fromCoroutine(look_up(reactor, "web", 22)).addCallbacks(stop, print)
reactor.run()
"""


def test_names_that_hang_hold_up_neither_others_nor_the_end() -> None:
    """With thirty look-ups that take a minute another one is done, and then the process ends."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout) == (0, "192.0.2.7\n"), done.stderr


def test_the_launcher_and_the_command_use_it() -> None:
    """Both put it in the place of Twisted's."""
    for module in ("tap", "cli/main"):
        source = (pathlib.Path(nodepool_tx.__file__).parent / f"{module}.py").read_text()
        assert "names.install(reactor)" in source
    reactor = ResolvingReactor()
    install(reactor)
    assert isinstance(reactor.resolver, NameResolver)


class ResolvingReactor:
    resolver: object = None

    def installNameResolver(self, resolver: object) -> None:
        self.resolver = resolver
