"""One key exchange against servers of all kinds, in memory."""

from __future__ import annotations

import random

from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.nodescan.exchange import HostKeyExchange
from nodepool_tx.nodescan.hostkeys import FAMILIES, HostKey
from nodepool_tx.nodescan.interface import KeyExchangeFailed, NotSSH, ScanError
from tests.nodescan.ssh_server import (
    HonestServer,
    HugeGroupServer,
    ImpostorServer,
    ModernServer,
    Speaker,
    line,
    meet,
    server,
)


class HonestServers(SynchronousTestCase):
    def test_every_key_type(self) -> None:
        """The key of the family that is offered comes back, proven."""
        everything = [family.name for family in FAMILIES]
        for family in FAMILIES:
            exchange, _ = meet(server(keys=everything), [family])
            self.assertEqual(self.successResultOf(exchange.outcome).line, line(family.name))
            self.assertEqual(exchange.agreed, family)

    def test_every_key_exchange_method(self) -> None:
        """Old and new key exchange methods lead to the same key."""
        for method in HostKeyExchange.supportedKeyExchanges:
            exchange, _ = meet(server(supportedKeyExchanges=[method]))
            self.assertEqual(self.successResultOf(exchange.outcome).line, line("ssh-ed25519"))

    def test_rsa_is_one_family(self) -> None:
        """Whatever signature is used, an RSA key is reported as ssh-rsa."""
        for algorithm in (b"rsa-sha2-512", b"rsa-sha2-256", b"ssh-rsa"):
            other = server(keys=["ssh-rsa"], supportedPublicKeys=[algorithm])
            exchange, _ = meet(other)
            self.assertEqual(self.successResultOf(exchange.outcome).line, line("ssh-rsa"))

    def test_announced_families(self) -> None:
        """The server's own list tells which families to ask for, each once."""
        exchange, _ = meet(server(keys=["ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519"]))
        announced = [family.name for family in self.successResultOf(exchange.announced)]
        self.assertEqual(announced, ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
        self.assertEqual(line("ssh-ed25519"), self.successResultOf(exchange.outcome).line)

    def test_ciphers_beyond_conch(self) -> None:
        """A server hardened to ciphers that conch cannot run shows its key all the same."""
        exchange, _ = meet(server(ModernServer))
        self.assertEqual(self.successResultOf(exchange.outcome).line, line("ssh-ed25519"))

    def test_banner_before_version(self) -> None:
        """Lines before the version line are skipped."""

        class Bannered(HonestServer):
            def connectionMade(self) -> None:
                self.transport.write(b"Welcome to SSH-land\r\n\nplease behave\n")
                super().connectionMade()

        exchange, _ = meet(server(Bannered))
        self.assertEqual(self.successResultOf(exchange.outcome).line, line("ssh-ed25519"))

    def test_byte_by_byte(self) -> None:
        """How the network cuts what the server says makes no difference."""
        other = server(keys=["ssh-ed25519"])
        exchange = _ByteByByte("host.example", 22, FAMILIES)
        meet(other, exchange=exchange)
        self.assertEqual(self.successResultOf(exchange.outcome).line, line("ssh-ed25519"))

    def test_connection_is_closed(self) -> None:
        """When the outcome is told, the connection is gone, with a polite word."""
        other = server()
        said: list[bytes] = []
        other.receiveError = lambda code, text: said.append(text)
        exchange, _ = meet(other)
        self.successResultOf(exchange.outcome)
        self.assertTrue(exchange.transport.disconnected)
        self.assertEqual(said, [b"host key seen"])


class Misbehaviour(SynchronousTestCase):
    """A bad server fails its own exchange, in one line.

    (Trial fails tests that leave a traceback in the log.)
    """

    def refused(self, other: Protocol, kind: type[ScanError], *words: str) -> None:
        exchange, _ = meet(other)
        error = self.failureResultOf(exchange.outcome, kind).value
        for word in ("host.example:22", *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertTrue(exchange.transport.disconnected)

    def test_signature_of_another_key(self) -> None:
        """A server that does not hold the key it shows proves nothing."""
        self.refused(server(ImpostorServer), KeyExchangeFailed, "bad signature")

    def test_key_of_another_type(self) -> None:
        """A key of a type that was not agreed on is not taken."""

        class WrongType(ImpostorServer):
            shown = "ssh-rsa"

        self.refused(server(WrongType), KeyExchangeFailed, "another type", "ssh-rsa")

    def test_huge_group(self) -> None:
        """Nobody makes the reactor compute with numbers of 8192 bits."""
        other = server(
            HugeGroupServer, supportedKeyExchanges=[b"diffie-hellman-group-exchange-sha256"]
        )
        self.refused(other, KeyExchangeFailed, "group of 8192 bits")

    def test_no_method_in_common(self) -> None:
        """A server with unknown key exchange methods only is told apart, with its list."""
        other = server(supportedKeyExchanges=[b"mlkem768x25519-sha256"])
        self.refused(other, KeyExchangeFailed, "no key exchange method", "mlkem768x25519-sha256")

    def test_no_known_key_type(self) -> None:
        """A server with host keys of unknown types only is told apart, with its list."""
        other = server(supportedPublicKeys=[b"ssh-ed448"])
        self.refused(other, KeyExchangeFailed, "no host key of a type", "ssh-ed448")

    def test_old_protocol(self) -> None:
        """SSH 1 is refused."""
        self.refused(Speaker(b"SSH-1.5-old\r\n"), KeyExchangeFailed, "bad version 1.5")

    def test_server_refuses(self) -> None:
        """What the server says when it refuses is passed on."""
        refusal = (
            b"\0\0\0\x2c\x06\1\0\0\0\x0b\0\0\0\x18too many cooks, so sorry\0\0\0\0" + 6 * b"\0"
        )
        self.refused(
            Speaker(b"SSH-2.0-x\r\n" + refusal), KeyExchangeFailed, "too many cooks", "code 11"
        )

    def test_rubbish(self) -> None:
        """Random bytes after the version line end the exchange, whatever they are."""
        for seed in range(200):
            rubbish = random.Random(seed).randbytes(100)
            self.refused(
                Speaker(b"SSH-2.0-x\r\n\0\0\0\x14" + rubbish, hang_up=True), KeyExchangeFailed
            )

    def test_corruption(self) -> None:
        """One changed byte never leads to a wrong key, nor to anything but an orderly end."""
        outcomes = set()
        for seed in range(300):
            rng = random.Random(seed)

            class Corrupt(HonestServer):
                def connectionMade(self, rng: random.Random = rng) -> None:
                    write, self.transport.write = self.transport.write, None
                    countdown = rng.randrange(900)

                    def corrupt(data: bytes) -> None:
                        nonlocal countdown
                        at, countdown = countdown, countdown - len(data)
                        if 0 <= at < len(data):
                            data = data[:at] + rng.randbytes(1) + data[at + 1 :]
                        write(data)

                    self.transport.write = corrupt
                    super().connectionMade()

            exchange, pump = meet(server(Corrupt))
            pump.server.transport.loseConnection()
            pump.flush()
            results: list[object] = []
            exchange.outcome.addBoth(results.append)
            (result,) = results
            if isinstance(result, HostKey):
                self.assertEqual(result.line, line("ssh-ed25519"))
            else:
                self.assertIsInstance(result.value, ScanError)
            outcomes.add(type(result))
        self.assertEqual(len(outcomes), 2)

    def test_http(self) -> None:
        """Another protocol's greeting is quoted."""
        other = Speaker(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>", hang_up=True)
        self.refused(other, NotSSH, "HTTP/1.1 400 Bad Request")

    def test_endless_talk(self) -> None:
        """A port that talks without end is left."""
        self.refused(Speaker(b"la la la\n" * 2000), NotSSH, "la la la", "goes on")

    def test_hangs_up(self) -> None:
        """A port that hangs up at once is no SSH server."""
        self.refused(Speaker(hang_up=True), NotSSH, "hung up before it said anything")

    def test_dies_after_version(self) -> None:
        """A server that goes away in the middle is an SSH server that failed."""
        self.refused(Speaker(b"SSH-2.0-x\r\n", hang_up=True), KeyExchangeFailed, "broke")


class Ending(SynchronousTestCase):
    def test_cancel_closes(self) -> None:
        """Cancelling the outcome breaks the connection off."""
        exchange, pump = meet(Speaker())
        exchange.outcome.addErrback(lambda _: None)
        exchange.outcome.cancel()
        pump.flush()
        self.assertTrue(exchange.transport.disconnected)
        self.assertEqual(self.successResultOf(exchange.announced), ())

    def test_silence(self) -> None:
        """A port that stays silent is described with what it has said so far."""
        exchange, _ = meet(Speaker())
        self.assertIn("has said nothing in 5 s", str(exchange.silence(5)))
        exchange, _ = meet(Speaker(b"220 mail ESMTP"))
        self.assertIn("has only said '220 mail ESMTP' in 0.5 s", str(exchange.silence(0.5)))
        exchange.close()

    def test_turned_away(self) -> None:
        """OpenSSH's word that it takes no more logins just now is understood."""
        exchange, _ = meet(Speaker(b"Exceeded MaxStartups\r\n", hang_up=True))
        self.assertTrue(exchange.turned_away)
        error = self.failureResultOf(exchange.outcome, NotSSH).value
        self.assertIn("'Exceeded MaxStartups'", str(error))


class _ByteByByte(HostKeyExchange):
    """A client behind a network that delivers single bytes."""

    def dataReceived(self, data: bytes) -> None:
        for index in range(len(data)):
            super().dataReceived(data[index : index + 1])
