"""Rows in every format, and colours where they belong."""

import csv
import io
import os
import re

from twisted.internet.task import Clock

from nodepool_tx.cli.colours import paint_for
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.cli.terminal import Terminal
from tests.cli.stage import CommandLineTestCase

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class FormatTests(CommandLineTestCase):
    def test_csv_has_a_header_of_keys_and_every_key(self) -> None:
        """Lines end as RFC 4180 says; what has commas is quoted."""
        node_id = self.add_node("ready", "small", "large", comment='a "b"\nc, d')
        text = self.run_to_end("list", "--format", "csv").stdout
        self.assertTrue(text.endswith("\r\n"))
        header, row = csv.reader(io.StringIO(text, newline=""))
        self.assertEqual(header[:4], ["id", "provider", "label", "server_id"])
        self.assertEqual(len(header), 21)
        values = dict(zip(header, row, strict=True))
        self.assertEqual(values["id"], node_id)
        self.assertEqual(values["label"], "small,large")
        self.assertEqual(values["age"], "90.0")
        self.assertEqual(values["comment"], 'a "b"\nc, d')
        self.assertEqual(values["allocated_to"], "")

    def test_csv_steers_no_terminal(self) -> None:
        """Programs get texts as they are, somebody at a terminal sees them spelled out."""
        self.add_node("hold", comment="\x1b[2Jgone\n")
        self.assertIn("\x1b[2Jgone\n", self.run_to_end("list", "--format", "csv").stdout)
        shown = self.start("list", "--format", "csv", screen=True).stdout
        self.assertIn(r"\x1b[2Jgone\n", shown)
        self.assertNotIn("\x1b", shown)

    def test_an_empty_list_in_csv_is_its_header(self) -> None:
        """A program that reads it learns the keys all the same."""
        run = self.run_to_end("label-list", "--format", "csv")
        self.assertEqual((run.code, run.stdout), (ExitCode.OK, "label\r\n"))

    def test_info_in_csv_is_one_list(self) -> None:
        """Whose first column says what a row is about."""
        node_id = self.add_node(external_id="vm-7")
        text = self.run_to_end("info", "dc", "--format", "csv").stdout
        self.assertEqual(
            text,
            f"section,image_name,build_id,upload_ids,id,server_id\r\nnodes,,,,{node_id},vm-7\r\n",
        )

    def test_what_changes_a_node_shows_it_in_every_format(self) -> None:
        """As the lists do."""
        node_id = self.add_node()
        text = self.run_to_end("hold", node_id, "--format", "csv").stdout
        self.assertIn(f"\r\n{node_id},dc,debian,,,,hold,0.0,", text)

    def test_requested_nodes_in_csv(self) -> None:
        """One row for each, with what is needed to log in."""
        node_id = self.add_node()
        run = self.start("request", "debian", "--keep", "--format", "csv")
        request = self.fulfil(node_id)
        self.assertEqual(run.code, ExitCode.OK, run.stderr)
        (row,) = csv.DictReader(io.StringIO(run.stdout, newline=""))
        self.assertEqual(row["request"], request.id)
        self.assertEqual((row["id"], row["label_asked_for"]), (node_id, "debian"))
        self.assertEqual(row["host_keys"], "ssh-ed25519 AAAA")


class ColourTests(CommandLineTestCase):
    def test_states_have_colours_on_a_terminal(self) -> None:
        """And only there."""
        for state in ("ready", "in-use", "failed", "hold"):
            self.add_node(state)
        coloured = self.start("list", screen=True).stdout
        self.assertIn("| \x1b[32mready\x1b[0m  |", coloured)
        self.assertIn("| \x1b[33min-use\x1b[0m |", coloured)
        self.assertIn("| \x1b[31mfailed\x1b[0m |", coloured)
        self.assertIn("| \x1b[35mhold\x1b[0m   |", coloured)
        plain = self.start("list").stdout
        self.assertNotIn("\x1b", plain)
        self.assertEqual(COLOURS.sub("", coloured), plain)

    def test_programs_never_get_colours(self) -> None:
        """Even if somebody insists."""
        self.add_node()
        for format in ("json", "csv"):
            run = self.start("list", "--color", "always", "--format", format, screen=True)
            self.assertNotIn("\x1b", run.stdout)

    def test_the_environment_is_heeded(self) -> None:
        """As the verb is run."""
        self.add_node()
        self.assertNotIn("\x1b", self.start("list", screen=True, environ={"NO_COLOR": "1"}).stdout)
        self.assertIn("\x1b", self.start("list", environ={"FORCE_COLOR": "1"}).stdout)


def test_who_decides_about_colours() -> None:
    """The option, then wishes against and for them, then what the terminal is."""

    def coloured(choice: str = "auto", is_screen: bool = True, **environ: str) -> bool:
        return paint_for(choice, environ, is_screen) is not None

    assert coloured()
    assert not coloured(is_screen=False)
    assert coloured("always", is_screen=False, NO_COLOR="1")
    assert not coloured("never", FORCE_COLOR="1")
    assert not coloured(NO_COLOR="1", FORCE_COLOR="1")
    assert coloured(NO_COLOR="")
    assert coloured(is_screen=False, FORCE_COLOR="1")
    assert coloured(is_screen=False, CLICOLOR_FORCE="1")
    assert not coloured(is_screen=False, CLICOLOR_FORCE="0", FORCE_COLOR="0")
    assert coloured(TERM="dumb", CLICOLOR_FORCE="1")
    assert not coloured(TERM="dumb")
    assert coloured(TERM="xterm", CLICOLOR="1")
    assert not coloured(CLICOLOR="0")


def test_a_reader_that_goes_away_is_noticed() -> None:
    """It is no error."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    terminal = Terminal(Closed(), io.StringIO(), Clock())
    assert terminal.unread is False
    terminal.result("x")
    assert terminal.unread is True


def test_a_reader_that_goes_away_is_noticed_while_nothing_is_written() -> None:
    """A pipe tells of it."""
    end, start = os.pipe()
    with open(start, "w", encoding="utf-8") as out:
        terminal = Terminal(out, io.StringIO(), Clock())
        assert terminal.unread is False
        os.close(end)
        assert terminal.unread is True
