"""Tables of plain text."""

from nodepool_tx.reports.table import cell, printable, render_table


def test_a_table_is_framed_and_left_aligned() -> None:
    """Every column is as wide as its widest cell, with a space on either side."""
    assert render_table(("ID", "Provider"), [("0000000001", "a"), ("2", None)]) == (
        "+------------+----------+\n"
        "| ID         | Provider |\n"
        "+------------+----------+\n"
        "| 0000000001 | a        |\n"
        "| 2          |          |\n"
        "+------------+----------+"
    )


def test_a_table_without_rows_has_its_headers() -> None:
    """As Nodepool 11 draws them."""
    assert render_table(("ID",), []) == "+----+\n| ID |\n+----+\n+----+"


def test_lists_are_shown_with_commas() -> None:
    """As labels and node ids are known from Nodepool's tables."""
    assert cell(["a", "b"]) == "a,b"
    assert cell(("a", None)) == "a,"
    assert cell(100) == "100"


def test_control_characters_cannot_steer_the_terminal() -> None:
    """A comment in ZooKeeper is data, whoever wrote it."""
    assert printable("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert "\x1b" not in render_table(("C",), [("\x1b]0;x\x07",)])


def test_wide_characters_keep_the_frame_straight() -> None:
    """A character that takes two columns is counted as two."""
    lines = render_table(("Comment",), [("節點",), ("cafe\u0301",)]).splitlines()
    assert lines[3] == "| 節點    |"
    assert lines[4] == "| cafe\u0301    |"
