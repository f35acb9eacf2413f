"""Labels with a min-ready of -1."""

from __future__ import annotations

from pathlib import Path

from nodepool_tx.config import load_config
from nodepool_tx.config.fake import FakeProvider

TEXT = """
zookeeper-servers: [{host: zk}]
labels:
  - {name: old, min-ready: -1}
  - {name: new}
providers:
  - name: fake
    cloud-images: [{name: image}]
    pools:
      - name: main
        labels:
          - {name: old, cloud-image: image, min-ram: 1}
          - {name: new, cloud-image: image, min-ram: 1}
  - name: rack
    driver: static
    pools:
      - name: main
        nodes: [{name: host, labels: [old]}]
"""


def test_pools_do_not_offer_what_is_disabled(tmp_path: Path) -> None:
    """No node is made of such a label; what there is of it is still understood."""
    path = tmp_path / "nodepool.yaml"
    path.write_text(TEXT)
    provider = load_config(str(path), None, {}).providers["fake"]
    assert isinstance(provider, FakeProvider)
    (pool,) = provider.pools
    assert pool.labels == {"new"}
    assert set(pool.cloud_labels) == {"new", "old"}


def test_machines_stay(tmp_path: Path) -> None:
    """Static nodes are not made, so they are not concerned."""
    path = tmp_path / "nodepool.yaml"
    path.write_text(TEXT)
    (pool,) = load_config(str(path), None, {}).providers["rack"].pools
    assert pool.labels == {"old"}


def test_switching_it_off_changes_the_provider(tmp_path: Path) -> None:
    """So a reload brings it into force."""
    path = tmp_path / "nodepool.yaml"
    path.write_text(TEXT)
    before = load_config(str(path), None, {}).providers["fake"]
    path.write_text(TEXT.replace("min-ready: -1", "min-ready: 0"))
    assert load_config(str(path), None, {}).providers["fake"] != before
