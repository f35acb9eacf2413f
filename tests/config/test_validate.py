"""What ``nodepool config-validate`` prints."""

from __future__ import annotations

from pathlib import Path

from nodepool_tx.config import validate_files
from tests.config.parsing import BUILT_IN, static_provider


def test_a_good_configuration(tmp_path: Path) -> None:
    """The exit code is 0, and a summary follows the warnings."""
    path = tmp_path / "nodepool.yaml"
    path.write_text(
        static_provider("- {name: h, labels: [a, a]}")
        + "  - {name: cloud, driver: aws, pools: [{name: p}, {name: q}]}\n"
    )
    secure = tmp_path / "secure.yaml"
    secure.write_text("zookeeper-servers: [{host: zk}]\n")
    code, text = validate_files(str(path), str(secure), env={}, drivers=BUILT_IN)
    assert code == 0
    assert text.splitlines() == [
        f"{path}:8:35: warning: providers[0].pools[0].nodes[0].labels[1]: "
        "the label a is given twice",
        f"{path}: warning: provider cloud: the driver aws is not available in this version",
        f"{path}: ok, 2 providers, 3 pools, 2 labels, 1 static node",
    ]


def test_a_bad_configuration(tmp_path: Path) -> None:
    """The exit code is not 0, and every error has its line."""
    path = tmp_path / "nodepool.yaml"
    path.write_text("images-dir:\nwebap: {}\nlabels: 5\n")
    missing = str(tmp_path / "missing.yaml")
    code, text = validate_files(str(path), missing, env={}, drivers=BUILT_IN)
    assert code == 1
    assert text.splitlines() == [
        f"{path}:1:1: warning: images-dir: has no value, so the default applies",
        f"{path}:2:1: webap: the configuration has no such key (did you mean webapp?)",
        f"{path}:3:9: labels: must be a list, not a whole number: 5",
        f"{missing}: does not exist",
        f"{path}: 3 errors",
    ]


def test_one_error(tmp_path: Path) -> None:
    """One error is not several."""
    path = tmp_path / "nodepool.yaml"
    path.write_text("")
    assert validate_files(str(path))[1].endswith(f"{path}: 1 error")
