"""The section of a metastatic provider."""

from __future__ import annotations

import pytest

from nodepool_tx.config import FrozenMapping
from nodepool_tx.config.metastatic import MetastaticLabel, MetastaticPool, MetastaticProvider
from tests.config.parsing import errors_of, parse

SMALL = "{name: small, backing-label: big}"


def written(provider: str = "", pool: str = "", labels: str = SMALL) -> str:
    more = f", {provider}" if provider else ""
    in_pool = f", {pool}" if pool else ""
    return (
        "labels: [{name: big}, {name: small}, {name: tiny}]\n"
        f"providers: [{{name: m, driver: metastatic{more},\n"
        f" pools: [{{name: p, labels: [{labels}]{in_pool}}}]}}]\n"
    )


def provider_of(text: str) -> MetastaticProvider:
    (provider,) = parse(text).providers.values()
    assert type(provider) is MetastaticProvider
    return provider


def test_defaults() -> None:
    """What is not given has the value that Nodepool 11 gives it."""
    label = MetastaticLabel(
        name="small",
        host_key_checking=False,
        backing_label="big",
        max_parallel_jobs=1,
        grace_time=60,
        min_retention_time=0,
        max_age=None,
    )
    assert provider_of(written()) == MetastaticProvider(
        name="m",
        driver="metastatic",
        boot_timeout=120.0,
        launch_timeout=3600.0,
        launch_retries=3,
        rate=0.0,
        pools=(
            MetastaticPool(
                name="p",
                provider_name="m",
                labels=frozenset({"small"}),
                cloud_labels=FrozenMapping({"small": label}),
            ),
        ),
    )


def test_everything() -> None:
    """Each key arrives where it belongs."""
    label = (
        "{name: small, backing-label: big, max-parallel-jobs: 4, grace-time: 5,"
        " min-retention-time: 6, max-age: 7, host-key-checking: false}"
    )
    provider = provider_of(
        written(
            "priority: 3, max-concurrency: 2, boot-timeout: 8, launch-timeout: 9,"
            " launch-retries: 10",
            "max-servers: 11, priority: 1, host-key-checking: true, node-attributes: {k: v}",
            f"{label}, {{name: tiny, backing-label: small}}",
        )
    )
    assert (provider.boot_timeout, provider.launch_timeout, provider.launch_retries) == (8, 9, 10)
    assert (provider.priority, provider.max_concurrency) == (3, 2)
    (pool,) = provider.pools
    assert (pool.limits, pool.effective_priority) == ({"instances": 11}, 1)
    assert (pool.host_key_checking, pool.node_attributes) == (True, FrozenMapping({"k": "v"}))
    small, tiny = pool.cloud_labels.values()
    assert small == MetastaticLabel("small", None, False, False, "big", 4, 5, 6, 7)
    assert tiny.host_key_checking


PATH = "providers[0].pools[0].labels[0]"


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("providers: [{name: m, driver: metastatic}]", "providers[0]", "needs the key 'pools'"),
        (written(labels="{name: small}"), PATH, "needs the key 'backing-label'"),
        (written(labels=SMALL[:-1] + ", max-parallel-job: 2}"), f"{PATH}.max-parallel-job", "mean"),
        (written(labels=SMALL[:-1] + ", username: me}"), f"{PATH}.username", "brings it along"),
        (written("cloud-images: []"), "providers[0].cloud-images", "brings it along"),
        (written(pool="max-cores: 1"), "providers[0].pools[0].max-cores", "no such key"),
        (
            written(labels=SMALL[:-1] + ", max-age: 5, min-retention-time: 6}"),
            f"{PATH}.max-age",
            "must not be less than min-retention-time, which is 6",
        ),
        (
            written(labels=f"{SMALL}, {{name: tiny, backing-label: big, grace-time: 5}}"),
            "providers[0].pools[0].labels[1]",
            "differs from the label small in line 3",
        ),
    ],
)
def test_errors(text: str, path: str, words: str) -> None:
    """One mistake is one error, at its place, and says what to do."""
    (error,) = errors_of(text).errors
    assert error.path == path
    assert words in str(error)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (written("rate: 1"), "providers[0].rate", "no effect"),
        (
            written(labels="{name: small, backing-label: bigg}"),
            f"{PATH}.backing-label",
            "did you mean big?",
        ),
        (
            written(labels="{name: small, backing-label: small}"),
            f"{PATH}.backing-label",
            "backed by itself",
        ),
        (written(labels="{name: smal, backing-label: big}"), f"{PATH}.name", "mean small?"),
        (
            written(labels=SMALL[:-1] + ", max-parallel-jobs: 0}"),
            f"{PATH}.max-parallel-jobs",
            "is taken for 1",
        ),
    ],
)
def test_warnings(text: str, path: str, words: str) -> None:
    """What Nodepool 11 takes without a word is taken with one."""
    (warning,) = parse(text).warnings
    assert warning.path == path
    assert words in str(warning)


def test_labels_that_share_backing_nodes() -> None:
    """They may differ in whether keys are checked, and in nothing else."""
    other = "{name: tiny, backing-label: big, host-key-checking: true}"
    small, tiny = provider_of(written(labels=f"{SMALL}, {other}")).pools[0].cloud_labels.values()
    assert small.backing == tiny.backing
