"""One report, in all its forms."""

import csv
import io
import json

from nodepool_tx.reports.report import Column, Report, Sections, Tone, csv_text, show_age, tone_of

COLUMNS = (
    Column("name", "Name"),
    Column("state", "State", tone=tone_of),
    Column("age", "Age", show_age, reference=lambda row: int(row["since"]), passing=True),
    Column("since", "Since", ours=True),
)
REPORT = Report(
    COLUMNS,
    (
        {"name": ["a", "b"], "state": "ready", "age": 61.5, "since": 38.5},
        {"name": None, "state": "odd", "age": None, "since": 40.0},
    ),
    ["name", "state", "age"],
)


def test_a_table_shows_what_is_chosen() -> None:
    """By default what the list is known for; otherwise what is asked for, in its own order."""
    assert REPORT.as_table().splitlines()[1:4:2] == [
        "| Name | State | Age         |",
        "| a,b  | ready | 00:00:01:01 |",
    ]
    chosen = REPORT.as_table(["since", "name", "nonsense"]).splitlines()
    assert chosen[1] == "| Name | Since |"


def test_colours_take_no_place() -> None:
    """The frame is where it is without them, and what has no meaning has no colour."""

    def paint(text: str, tone: Tone) -> str:
        return f"<{tone.value}>{text}</>"

    plain = REPORT.as_table().splitlines()
    painted = REPORT.as_table(paint=paint).splitlines()
    assert painted[3] == plain[3].replace("ready", "<good>ready</>")
    assert painted[4] == plain[4]
    assert painted[:3] == plain[:3]
    assert "<good>ready</> |" in REPORT.as_table(["state"], paint=paint)


def test_ours_for_programs() -> None:
    """Every key, with plain values."""
    assert json.loads(REPORT.as_json()) == json.loads(json.dumps(REPORT.rows))
    assert REPORT.as_csv() == ('name,state,age,since\r\n"a,b",ready,61.5,38.5\r\n,odd,,40.0\r\n')


def test_the_references_for_programs() -> None:
    """Its keys only, with its kinds of values, written as it writes them."""
    assert REPORT.as_reference_json() == (
        '[{"name": ["a", "b"], "state": "ready", "age": 38}, '
        '{"name": null, "state": "odd", "age": 40}]'
    )


def test_ages_are_no_change() -> None:
    """All else is."""
    older = Report(COLUMNS, tuple({**row, "age": 99.0} for row in REPORT.rows), REPORT.shown)
    other = Report(COLUMNS, tuple({**row, "state": "x"} for row in REPORT.rows), REPORT.shown)
    assert REPORT.lasting() == older.lasting()
    assert REPORT.lasting() != other.lasting()
    assert REPORT.lasting() != REPORT.head(1).lasting()


def test_the_head_of_a_report() -> None:
    """As many rows as a screen takes."""
    assert (REPORT.head(1).size, REPORT.size) == (1, 2)
    assert REPORT.head(1).rows == REPORT.rows[:1]
    assert REPORT.head(9) == REPORT


def test_sections() -> None:
    """One after the other for people, under keys in JSON, in one list in CSV."""
    other = Report(
        (Column("name", "Name"), Column("size", "Size")), ({"name": "x", "size": 1},), ["size"]
    )
    sections = Sections("All", {"of": "z"}, (("r", "Report", REPORT), ("o", "Other", other)))
    assert (
        sections.as_table() == f"All\n\nReport:\n{REPORT.as_table()}\n\nOther:\n{other.as_table()}"
    )
    assert list(json.loads(sections.as_json())) == ["of", "r", "o"]
    rows = list(csv.DictReader(io.StringIO(sections.as_csv())))
    assert [(row["section"], row["name"], row["size"]) for row in rows] == [
        ("r", "a,b", ""),
        ("r", "", ""),
        ("o", "x", "1"),
    ]
    assert sections.size == 3
    assert sections.head(1).size == 2


def test_csv_of_all_kinds_of_values() -> None:
    """Text is left as it is, also where a spreadsheet would take it for a formula."""
    values = ["=1+1", 'q"', "a\nb", True, {"k": [1]}, [1, None], 0, None]
    text = csv_text(["x"] * len(values), [values])
    assert text.partition("\r\n")[2] == ('=1+1,"q""","a\nb",true,"{""k"": [1]}","1,",0,\r\n')
    assert text.encode().count(b"\r\n") == 2


def test_states_that_nobody_knows_mean_nothing() -> None:
    """They have no colour, whatever they are."""
    assert tone_of("ready") is Tone.GOOD
    assert tone_of("deleting") is Tone.BAD
    assert tone_of("unheard-of") is None
    assert tone_of(None) is None
    assert tone_of(["ready"]) is None
