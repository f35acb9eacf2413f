"""The small services that tie the launcher's parts to the service tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx import __version__
from nodepool_tx.config.errors import ConfigErrors
from nodepool_tx.config.schema import Config
from nodepool_tx.events import Events, ReloadRefused
from nodepool_tx.model import OURS, LauncherComponent
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.reload import Reloader
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.registration import Registration
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.work import SingleFlight

__all__ = ["Launcher", "Presence", "Session", "connection_string"]


class Session(Service):
    """The session with ZooKeeper: begun at the start, ended in order.

    ``where`` tells the servers once they are known; ``use_servers`` of the
    client takes them.
    """

    _log = Logger()

    def __init__(
        self, client: ZookeeperClient, where: Callable[[], Deferred[str]], *, plain: bool
    ) -> None:
        self.setName("zookeeper")
        self._client = client
        self._where = where
        self._plain = plain
        self._connecting: Deferred[None] | None = None
        client.observe(self._on_state)

    def startService(self) -> None:
        super().startService()
        self._connecting = Deferred.fromCoroutine(self._connect())
        self._connecting.addErrback(self._failed)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._connecting is not None:
            self._connecting.cancel()
        return self._client.close()

    def use_servers(self, servers: str) -> None:
        """Take the next connection from other servers."""
        try:
            self._client.use_servers(servers)
        except ValueError as e:
            self._log.warn("the ZooKeeper servers stay as they are: {reason}", reason=str(e))

    async def _connect(self) -> None:
        servers = await self._where()
        if self._plain:
            self._log.warn(
                "the connection to ZooKeeper at {servers} is not encrypted: this is for trusted "
                "networks only, add zookeeper-tls to the configuration",
                servers=servers,
            )
        self._client.use_servers(servers)
        await self._client.connect()

    def _failed(self, failure: Failure) -> None:
        if self.running and not failure.check(CancelledError):
            self._log.critical(
                "there is no ZooKeeper, and nothing can be done without: {reason}",
                reason=failure.getErrorMessage(),
            )

    def _on_state(self, state: SessionState) -> None:
        # The client tells itself what it is connected to.
        if state in (SessionState.SUSPENDED, SessionState.EXPIRED):
            self._log.warn("ZooKeeper: {state}", state=state.value)


class Presence(Service):
    """What others see of this process; stood down from before the session ends.

    Ending the session would do the same, but not before whoever talks to
    another server of the ensemble has noticed.
    """

    def __init__(
        self,
        store: Store,
        registry: PoolRegistry,
        ownerships: Ownerships,
        hostname: str,
        version: str,
    ) -> None:
        self.setName("presence")
        self._store = store
        self._registry = registry
        self._ownerships = ownerships
        self._component = LauncherComponent(
            kind="launcher", hostname=hostname, version=version, extra=OURS
        )
        self._registration: Registration | None = None

    @property
    def path(self) -> str:
        """Where this launcher is registered; "" as long as it is not."""
        registration = self._registration
        return registration.path if registration is not None and registration.registered else ""

    def startService(self) -> None:
        super().startService()
        self._registration = self._store.register(self._component)

    def stopService(self) -> Deferred[list[Any]]:
        super().stopService()
        going: list[Deferred[Any]] = [
            self._registry.keep_only(set()),
            self._ownerships.keep_only(set()),
        ]
        if self._registration is not None:
            going.append(self._registration.remove())
            self._registration = None
        return gatherResults(going)


class Launcher(Service):
    """Brings configurations into force: the first at the start, others as they come.

    ``notices`` are said at the start, for everyone to see.

    :ivar last_errors: why the newest configuration was refused, or None if it
        was not.
    """

    _log = Logger()

    def __init__(
        self,
        reloader: Reloader,
        store: Store,
        session: Session,
        config: Config,
        notices: tuple[str, ...] = (),
        events: Events | None = None,
    ) -> None:
        self.setName("launcher")
        self._observers: list[Callable[[], None]] = []
        self._events = events or Events()
        self._notices = notices
        self._reloader = reloader
        self._store = store
        self._session = session
        self._config = config
        self._resuming = SingleFlight(self._resume_drains, "going on with draining")
        self._drains_resumed = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self.last_errors: ConfigErrors | None = None

    def startService(self) -> None:
        super().startService()
        self._log.info("nodepool_tx {version} starts", version=__version__)
        for notice in self._notices:
            self._log.warn("{notice}", notice=notice)
        self._apply(self._config)
        self._unsubscribe = self._store.when_current(lambda current: self._resuming.wake())
        self._resuming.wake()

    async def _resume_drains(self) -> None:
        """Once, as soon as ZooKeeper answers."""
        if not self._store.current or self._drains_resumed:
            return
        try:
            await self._reloader.resume_drains()
        except Uncertain as e:
            self._log.info("draining goes on when ZooKeeper is back: {reason}", reason=str(e))
        else:
            self._drains_resumed = True

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._unsubscribe()
        return self._reloader.stop()

    def when_applied(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call ``observer`` whenever a configuration came into force; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def on_config(self, config: Config) -> None:
        """A new configuration was read and is valid."""
        if self.last_errors is not None:
            self._log.info("the configuration is valid again")
            self.last_errors = None
        self._compare_zookeeper(config)
        self._config = config
        self._apply(config)

    def on_errors(self, errors: ConfigErrors) -> None:
        """The files changed and are not valid: what is in force stays so."""
        self.last_errors = errors
        self._log.error(
            "the new configuration is not valid, the old one stays in force:\n{errors}",
            errors=str(errors),
        )
        self._events.publish(ReloadRefused(errors=tuple(str(error) for error in errors.errors)))

    def _apply(self, config: Config) -> None:
        for warning in config.warnings:
            self._log.warn("configuration: {warning}", warning=str(warning))
        self._reloader.apply(config).addCallback(self._applied)

    def _applied(self, result: object) -> None:
        for tell in tuple(self._observers):
            tell()

    def _compare_zookeeper(self, config: Config) -> None:
        """Other servers of the ensemble can be taken up; all else waits for a start."""
        before = self._config
        if (config.zookeeper_tls, config.zookeeper_timeout) != (
            before.zookeeper_tls,
            before.zookeeper_timeout,
        ) or bool(config.zookeeper_servers) != bool(before.zookeeper_servers):
            self._log.warn("the change of the ZooKeeper settings takes effect at the next start")
        elif config.zookeeper_servers != before.zookeeper_servers:
            self._session.use_servers(connection_string(config))


def connection_string(config: Config) -> str:
    """The servers in the form ``host:port,host:port/chroot``."""
    listed = ",".join(
        f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"
        for server in config.zookeeper_servers
    )
    return listed + config.zookeeper_chroot
