"""What is done with nodes once they are ours."""

from __future__ import annotations

import json
import os
import shlex

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater

from nodepool_tx.cli.gathering import first_of
from nodepool_tx.cli.lease import Lease
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.ssh import host_of, is_ssh, remote_words, ssh_words
from nodepool_tx.cli.visit import Visit
from nodepool_tx.model import Node, NodeRequest
from nodepool_tx.reports.lists import node_report
from nodepool_tx.reports.report import csv_text
from nodepool_tx.reports.table import printable, render_table
from nodepool_tx.txzookeeper.interface import SessionState

__all__ = ["Use"]

#: Seconds for ssh to end when it is asked to.
_ENDING = 5.0


@attrs.define(eq=False)
class Use:
    """Shows the nodes of a request, and runs the command or waits.

    :ivar waited: seconds from asking to having.
    """

    visit: Visit
    request: NodeRequest
    lease: Lease
    known_hosts: str
    waited: float
    _told_of_loss: bool = False
    _alarm: IDelayedCall | None = None

    # -- showing ---------------------------------------------------------

    def show(self) -> None:
        """Say which nodes there are and how to reach them."""
        if self.visit.options.format != "table":
            self.visit.terminal.result(self._for_programs())
            return
        self.visit.terminal.note(f"ready after {self.waited:.2f} s")
        self.visit.terminal.result(self._as_table())
        for node in self.lease.nodes:
            if is_ssh(node):
                self.visit.terminal.result(shlex.join(self._ssh(node)))
            if is_ssh(node) and not node.host_keys:
                self.visit.terminal.note(f"the host keys of node {node.id} are not known")

    def tell_kept(self) -> None:
        """Say how to end a hold."""
        for node in self.lease.nodes:
            self.visit.terminal.note(f"held; give it back with: nodepool delete {node.id}")

    def _as_table(self) -> str:
        return render_table(
            ("ID", "Label", "Provider", "Pool", "Host", "Port", "Username", "Connection"),
            [
                (
                    node.id,
                    label,
                    node.provider,
                    node.pool,
                    host_of(node),
                    node.connection_port if isinstance(node.connection_port, int) else "",
                    node.username,
                    node.connection_type or "ssh",
                )
                for node, label in self._labelled()
            ],
        )

    def _for_programs(self) -> str:
        rows = node_report(self.lease.nodes, lambda _: True, self.visit.clock.seconds()).rows
        by_id = {row["id"]: row for row in rows}
        nodes = [
            {
                **by_id[node.id],
                "label_asked_for": label,
                "host": host_of(node),
                "connection_type": node.connection_type or "ssh",
                "host_keys": list(node.host_keys),
                "ssh": self._ssh(node) if is_ssh(node) else None,
            }
            for node, label in self._labelled()
        ]
        if self.visit.options.format == "json":
            return json.dumps({"request": self.request.id, "nodes": nodes}, indent=2)
        lines = ([self.request.id, *node.values()] for node in nodes)
        return csv_text(["request", *nodes[0]], lines).removesuffix("\n")

    def _labelled(self) -> list[tuple[Node, str]]:
        return list(zip(self.lease.nodes, self.request.node_types, strict=True))

    def _ssh(self, node: Node, *, unattended: bool = False, terminal: bool = False) -> list[str]:
        return ssh_words(
            node,
            self.known_hosts,
            self.visit.options.identity,
            unattended=unattended,
            terminal=terminal,
        )

    # -- using -----------------------------------------------------------

    async def until_done(self) -> int:
        """Run the command, or wait until the person has had enough; the exit code.

        Being cancelled while waiting is a way of having had enough; while a
        command runs it ends the command.
        """
        unobserve = self.visit.client.observe(self._on_state)
        try:
            if self.visit.options.command:
                return await self._run_everywhere()
            return await self._wait()
        finally:
            unobserve()
            if self._alarm is not None and self._alarm.active():
                self._alarm.cancel()

    def _on_state(self, state: SessionState) -> None:
        """Tell what the connection means for the nodes, until they are lost."""
        note, alarm = self.visit.terminal.note, self._alarm
        if alarm is not None and alarm.active():
            alarm.cancel()
        if self._told_of_loss:
            return
        if state is SessionState.SUSPENDED:
            left = self.visit.client.session_timeout
            note("WARNING: no connection to ZooKeeper; without it the nodes are given to others")
            note(f"after {left:g} s.  Trying again.")
            self._alarm = self.visit.clock.callLater(left, self._warn_again)
        elif state is SessionState.CONNECTED:
            note("connected to ZooKeeper again: the nodes are still yours")
        elif state is SessionState.EXPIRED:
            self._told_of_loss = True
            ids = [node.id for node in self.lease.nodes]
            nodes = f"NODE {ids[0]} IS" if len(ids) == 1 else f"NODES {', '.join(ids)} ARE"
            note("*" * 78)
            note(f"THE ZOOKEEPER SESSION ENDED: {nodes} NOT YOURS ANY MORE.")
            note("What runs there now harms whoever gets it next.")
            note("*" * 78)

    def _warn_again(self) -> None:
        self.visit.terminal.note(
            "WARNING: still no connection; somebody else may be using the nodes by now"
        )

    async def _wait(self) -> int:
        self.show()
        if not self.visit.world.listens:
            self.visit.terminal.note(
                f"in use until this process ({os.getpid()}) is interrupted: "
                "there is nothing to wait for on standard input"
            )
        elif self.visit.options.format != "json":
            self.visit.terminal.note("in use until you press Enter or Ctrl-C")
        enough = self.visit.world.enough()
        enough.addErrback(lambda failure: failure.trap(CancelledError) and None)
        try:
            await first_of(enough, self.lease.lost)
        except CancelledError:
            return ExitCode.OK
        finally:
            enough.cancel()
        return ExitCode.LOST if self.lease.lost.called else ExitCode.OK

    async def _run_everywhere(self) -> int:
        for node in self.lease.nodes:
            if not is_ssh(node):
                raise Complaint(
                    f"no command can be run on node {node.id}: "
                    f"its connection type is {node.connection_type}"
                )
        self.visit.terminal.note(f"ready after {self.waited:.2f} s")
        worst: int = ExitCode.OK
        for node in self.lease.nodes:
            self.visit.terminal.note(
                f"running on node {node.id} of {node.provider}/{node.pool}, "
                f"{node.username}@{host_of(node)}:{node.connection_port}"
            )
            worst = max(worst, await self._run_on(node))
            if self.lease.lost.called:
                return ExitCode.LOST
        return worst

    async def _run_on(self, node: Node) -> int:
        """Run the command on one node; ssh's exit status, which is the command's."""
        alone = len(self.lease.nodes) == 1
        at_terminal = alone and self.visit.world.interactive
        words = [
            *self._ssh(node, unattended=not at_terminal, terminal=at_terminal),
            remote_words(self.visit.options.command),
        ]

        def on_line(line: str) -> None:
            # ssh ends lines of its own as a terminal would.
            said = printable(line.rstrip("\r").expandtabs())
            self.visit.terminal.result(f"{node.id} {host_of(node)} | {said}")

        try:
            child = self.visit.world.spawn(words, None if alone else on_line)
        except OSError as e:
            raise Complaint(f"cannot run ssh: {e}; install the package openssh-client") from e
        try:
            await first_of(child.ended, self.lease.lost)
        finally:
            if not child.ended.called:
                child.end()
                await first_of(child.ended, deferLater(self.visit.world.reactor, _ENDING))
        return await child.ended if child.ended.called else ExitCode.FAILED
