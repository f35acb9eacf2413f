"""The words of the command line."""

import pytest

from nodepool_tx.cli.commands import parse


def test_options_stand_before_the_verb_and_after_it() -> None:
    """Both places mean the same, and the later one wins."""
    assert parse(["-c", "x", "list"], {}).config == "x"
    assert parse(["list", "-c", "x"], {}).config == "x"
    assert parse(["-c", "x", "list", "-c", "y"], {}).config == "y"
    assert parse(["--debug", "label-list"], {}).debug is True
    assert parse(["label-list"], {}).debug is False


def test_the_environment_stands_for_options() -> None:
    """What is said on the command line goes before."""
    environ = {
        "NODEPOOL_CONFIG": "c",
        "NODEPOOL_SECURE": "s",
        "NODEPOOL_STATE_DIR": "d",
        "NODEPOOL_IDENTITY": "i",
    }
    options = parse(["request", "a"], environ)
    assert (options.config, options.secure, options.state_dir, options.identity) == tuple("csdi")
    assert parse(["request", "a", "-c", "x"], environ).config == "x"


def test_a_command_follows_two_dashes() -> None:
    """It is not looked at, whatever it looks like."""
    options = parse(["request", "a", "b", "--", "ls", "--format", "-c"], {})
    assert options.labels == ["a", "b"]
    assert options.command == ["ls", "--format", "-c"]
    assert parse(["request", "a"], {}).command == []
    assert parse(["request", "a", "--", "echo", "--", "x"], {}).command == ["echo", "--", "x"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "usage:"),
        (["fly"], "invalid choice: 'fly'"),
        (["request"], "LABEL"),
        (["request", "a", "--"], "no command after --"),
        (["request", "a", "--keep", "--", "ls"], "--keep leaves the nodes to you"),
        (["request", "a", "--format", "json", "--", "ls"], "no place for a command's output"),
        (["request", "a", "--timeout", "0"], "positive number of seconds"),
        (["request", "a", "--priority", "1000"], "from 0 to 999"),
        (["list", "--", "ls"], "list takes no command"),
        (["list", "--format", "yaml"], "invalid choice"),
    ],
)
def test_mistakes_are_told_with_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words, and before anything is done."""
    with pytest.raises(SystemExit) as left:
        parse(words, {})
    assert left.value.code == 2
    output = capsys.readouterr()
    assert said in output.out + output.err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As ``nodepool`` and a number."""
    with pytest.raises(SystemExit) as left:
        parse(["--version"], {})
    assert left.value.code == 0
    assert capsys.readouterr().out == "nodepool 0.1.0\n"
