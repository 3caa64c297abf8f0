"""Means over faces with bootstrap intervals: of heat maps' energy, of fractions, of differences of two groups."""

import numpy as np

from ferlib.evaluation.bootstrap import percentiles, resample
from ferlib.evaluation.report_format import Estimate
from ferlib.evaluation.wilson import wilson


def mean_intervals(values: np.ndarray) -> np.ndarray:
    """Mean, low and high (3, ...) of values (N, ...), one a face; NaN is absent."""
    values = np.asarray(values, float)
    there = ~np.isnan(values)
    flat, present = np.where(there, values, 0).reshape(len(values), -1), there.reshape(len(values), -1).astype(float)
    with np.errstate(invalid="ignore"):
        means = resample(np.ones(len(values)), lambda drawn: (drawn @ flat) / (drawn @ present))
        mean = flat.sum(axis=0) / present.sum(axis=0)
        return np.stack([mean, *percentiles(means)]).reshape(3, *values.shape[1:])


def mean_estimate(values: np.ndarray) -> Estimate:
    """Mean of values (N,), one a face, with its interval, rounded to five digits."""
    return _rounded(*mean_intervals(values))


def fraction_estimate(told: np.ndarray) -> Estimate:
    """Fraction of the faces (N,) of which something is told, 1 or 0, NaN is absent; see `mean_estimate`.

    Where it is told of all faces or of none, the interval is Wilson's: that of the resamples would have no width.
    """
    there = np.asarray(told, float)[~np.isnan(told)]
    if there.min() == there.max():
        return _rounded(there.mean(), *wilson(there.sum(), len(there)))
    return mean_estimate(told)


def difference_estimate(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Mean of `first` (N,) minus mean of `second` (M,), two groups of faces, with its interval; NaN is absent."""
    groups = [np.asarray(group, float)[~np.isnan(group)] for group in (first, second)]
    one, two = (_resampled_means(group, seed) for seed, group in enumerate(groups))
    return _rounded(groups[0].mean() - groups[1].mean(), *percentiles(one - two))


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    return resample(np.ones(len(values)), lambda drawn: drawn @ values / len(values), seed=seed)


def _rounded(value: float, low: float, high: float) -> Estimate:
    return {"value": round(float(value), 5), "low": round(float(low), 5), "high": round(float(high), 5)}
