"""The sample configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nodepool_tx.config import (
    StaticPool,
    diskimages,
    drivers,
    load,
    load_config,
    static,
    toplevel,
    validate_files,
)
from tests.config.parsing import parse

SAMPLE = Path(__file__).parents[2] / "etc" / "nodepool.yaml.sample"


def test_the_sample_has_no_mistakes() -> None:
    """It loads, without a warning, and shows what a static provider can do."""
    config = load_config(str(SAMPLE), env={})
    assert config.warnings == ()
    assert set(config.providers) == {"rack"}
    main, others = config.pools
    assert isinstance(main, StaticPool)
    assert isinstance(others, StaticPool)
    assert main.effective_priority == 50
    assert [node.max_parallel_jobs for node in main.nodes] == [2, 1]
    assert {node.connection_type for node in others.nodes} == {"winrm", "network_cli"}
    assert set(config.labels) == main.labels | others.labels
    code, text = validate_files(str(SAMPLE), env={})
    assert code == 0
    assert "ok, 1 provider, 2 pools, 4 labels, 4 static nodes, 1 disk image" in text


def test_the_clouds_of_the_sample_have_no_mistakes() -> None:
    """Without their comment signs they load, without a warning."""
    text = re.sub(r"(?m)^  #(?=[- ] )", "  ", SAMPLE.read_text(encoding="utf-8"))
    config = parse(text)
    assert config.warnings == ()
    assert {name: provider.driver for name, provider in config.providers.items()} == {
        "rack": "static",
        "cloud": "openstack",
        "trial": "fake",
        "shared": "metastatic",
    }


@pytest.mark.parametrize(
    "keys",
    [
        load._KEYS,
        static._NODE_KEYS - {"ssh-port"},
        static._POOL_KEYS,
        drivers.PROVIDER_KEYS,
        diskimages._KEYS,
        toplevel._LABEL_KEYS,
        toplevel._SERVER_KEYS,
        toplevel._WEBAPP_KEYS,
        frozenset(toplevel._TLS_KEYS),
        frozenset(toplevel._TENANT_LIMITS),
    ],
)
def test_the_sample_shows_every_key(keys: frozenset[str]) -> None:
    """Every key there is, but for a legacy one, is in use in it."""
    text = SAMPLE.read_text(encoding="utf-8")
    used = {
        line.lstrip(" -").partition(":")[0]
        for line in text.splitlines()
        if not line.lstrip().startswith("#")
    }
    assert keys - used == set()
