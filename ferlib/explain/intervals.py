"""Means over faces with their bootstrap intervals."""

import numpy as np


def mean_intervals(values: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """Mean, low and high (3, ...) of values (N, ...), bootstrapped over the first axis; nan is absent."""
    values = np.asarray(values, float)
    there = ~np.isnan(values)
    flat, present = np.where(there, values, 0).reshape(len(values), -1), there.reshape(len(values), -1).astype(float)
    draws = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), size=resamples)
    with np.errstate(invalid="ignore"):
        means = (draws @ flat) / (draws @ present)  # (resamples, ...)
        mean = flat.sum(axis=0) / present.sum(axis=0)
        low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.stack([mean, low, high]).reshape(3, *values.shape[1:])


def as_record(values: np.ndarray) -> dict[str, float]:
    """Mean and interval of values (N,), JSON-ready: {value, low, high}."""
    return _record(*mean_intervals(values))


def difference(first: np.ndarray, second: np.ndarray, resamples: int = 2000, seed: int = 0) -> dict[str, float]:
    """Mean of `first` (N,) minus mean of `second` (M,), two groups of faces, with a 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    first, second = (np.asarray(group, float)[~np.isnan(group)] for group in (first, second))
    means = [group[rng.integers(len(group), size=(resamples, len(group)))].mean(axis=1) for group in (first, second)]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return _record(first.mean() - second.mean(), low, high)


def _record(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": round(float(value), 5), "low": round(float(low), 5), "high": round(float(high), 5)}
