"""The interval of a fraction of some faces (Wilson 1927)."""

from scipy.stats import binomtest


def wilson(hits: float, faces: float, level: float = 0.95) -> tuple[float, float]:
    """The Wilson interval of `hits` of so many `faces`, both whole numbers; 0 to 1 where there is no face."""
    if not faces:
        return 0.0, 1.0
    interval = binomtest(int(hits), int(faces)).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)
