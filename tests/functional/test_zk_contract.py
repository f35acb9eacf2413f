"""The client keeps every promise of its interface, on real servers."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from nodepool_tx.txzookeeper.tls import TLSFiles
from tests.contract.zookeeper import ZookeeperContract
from tests.functional.zk_clients import RealServerSteps
from tests.servers.zookeeper import shared_authority


class PlainContractTests(RealServerSteps, ZookeeperContract, TestCase):
    """Over TCP."""


class TLSContractTests(RealServerSteps, ZookeeperContract, TestCase):
    """Over TLS with a client certificate."""

    def address(self) -> str:
        return self.server.tls_address

    def tls(self) -> TLSFiles:
        return shared_authority().client()
