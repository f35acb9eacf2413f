"""Putting families of samples together for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

__all__ = ["counter", "gauge", "histogram", "summary"]


def gauge(
    name: str,
    text: str,
    labels: Sequence[str] = (),
    values: Mapping[tuple[str, ...], float] | None = None,
) -> GaugeMetricFamily:
    """A gauge; ``values`` by the values of its labels, in their order."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in (values or {}).items():
        family.add_metric(key, value)
    return family


def counter(name: str, text: str, value: float) -> CounterMetricFamily:
    """A counter without labels; its sample's name ends in ``_total``."""
    return CounterMetricFamily(name, text, value=value)


def histogram(
    name: str, text: str, bounds: Sequence[float], counts: Sequence[int], total: float
) -> HistogramMetricFamily:
    """A histogram from counts by bucket, of which the last has no bound."""
    buckets: list[tuple[str, float]] = []
    seen = 0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        seen += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), seen))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)


def summary(
    name: str,
    text: str,
    labels: Mapping[str, str],
    quantiles: Mapping[float, float],
    count: int,
    total: float,
    family: Metric | None = None,
) -> Metric:
    """A summary with quantiles, or one more in ``family``."""
    family = family or Metric(name, text, "summary")
    for quantile, value in quantiles.items():
        family.add_sample(name, {**labels, "quantile": f"{quantile:g}"}, value)
    family.add_sample(f"{name}_count", dict(labels), count)
    family.add_sample(f"{name}_sum", dict(labels), total)
    return family
