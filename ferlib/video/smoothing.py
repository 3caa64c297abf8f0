"""Smooth the probabilities of one face over time: as they come, or with the whole film known.

**As they come** (`ExponentialSmoother`): the logits are averaged with weights that fall off with a time constant, so
that the answer does not depend on the frame rate, and lags behind by about that constant.

**With the whole film** (`smooth`): a hidden Markov model whose states are the classes. At a constant rate the
expression is drawn anew from all K, the old one among them, so that two frames dt seconds apart have the same one with

    stay(dt) = 1/K + (1 - 1/K) exp(-rate dt)

for K classes; equal steps of time and gaps of any length are one case. A frame's probabilities are taken for its
likelihoods, up to a factor (classes are equally likely before anything is seen). Forwards-backwards (Rabiner, "A
tutorial on hidden Markov models", 1989, section III.B) gives every frame's probabilities in the light of all frames,
before and after. The one parameter, the rate, is that with the largest likelihood of the film's own faces (`fit_rate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TIME_CONSTANT = 0.2  # seconds; two thirds of the flicker for 2.6 points of accuracy by its lag (results/video.json)
_RATES = 0.02, 20.0  # draws of a state a second between which the fitted one lies
_STEPS = 16  # rates that are tried at once
_FLOOR = 1e-6  # least probability that counts: no frame alone rules anything out


@dataclass(eq=False)
class ExponentialSmoother:
    """The running mean of one face's logits.

    Args:
        time_constant: in seconds; 0: the probabilities as they are.
    """

    time_constant: float = TIME_CONSTANT
    _logits: np.ndarray | None = None
    _time: float = 0.0

    def __call__(self, probabilities: np.ndarray, time: float) -> np.ndarray:
        """Smoothed probabilities (K,) at a time in seconds, later than the one before."""
        logits = np.log(np.maximum(probabilities, _FLOOR))
        if self._logits is not None and self.time_constant > 0:
            new = 1 - np.exp(-(time - self._time) / self.time_constant)
            logits = self._logits + new * (logits - self._logits)
        self._logits, self._time = logits, time
        powers = np.exp(logits - logits.max())
        return powers / powers.sum()


def smooth(probabilities: np.ndarray, times: np.ndarray, rate: float) -> np.ndarray:
    """One face's probabilities in the light of all its frames, (N, K) float32.

    Args:
        probabilities: (N, K), of every frame alone.
        times: (N,) in seconds, ascending.
        rate: from `fit_rate`.
    """
    likelihoods = np.maximum(np.asarray(probabilities, float), _FLOOR)
    frames, classes = likelihoods.shape
    kept = _kept(times, np.array([rate]))[:, 0]
    after = np.empty_like(likelihoods)
    state = np.full(classes, 1 / classes)
    for i in range(frames):  # forwards: what this frame and those before it say
        state = likelihoods[i] * (kept[i] * state + (1 - kept[i]) / classes)
        state /= state.sum()
        after[i] = state
    later = np.ones(classes)
    for i in range(frames - 1, 0, -1):  # backwards: what those after the frame before this one say
        later = later * likelihoods[i]
        later = kept[i] * later + (1 - kept[i]) * later.mean()
        later /= later.sum()
        after[i - 1] *= later
    return (after / after.sum(axis=1, keepdims=True)).astype(np.float32)


def fit_rate(tracks: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The rate, in draws of a state a second, that makes the frames of some faces most likely.

    One draw in K is of the state there was before, so the expression changes rate (1 - 1/K) times a second.

    Args:
        tracks: of each face probabilities (N, K) and times (N,), as in `smooth`.
    """
    low, high = _RATES
    best = low
    for _ in range(3):  # ever finer, around the best one
        rates = np.geomspace(low, high, _STEPS)
        total = np.zeros(_STEPS)
        for probabilities, times in tracks:
            total += log_likelihood(probabilities, times, rates)
        place = int(total.argmax())
        best = float(rates[place])
        low, high = rates[max(0, place - 1)], rates[min(_STEPS - 1, place + 1)]
    return best


def log_likelihood(probabilities: np.ndarray, times: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Logarithm of the likelihood of one face's frames under each of some rates, (R,); arguments as in `smooth`."""
    likelihoods = np.maximum(np.asarray(probabilities, float), _FLOOR)
    frames, classes = likelihoods.shape
    kept = _kept(times, rates)[..., None]
    state = np.full((len(rates), classes), 1 / classes)
    sums = np.empty((frames, len(rates)))
    for i in range(frames):
        state = likelihoods[i] * (kept[i] * state + (1 - kept[i]) / classes)
        sums[i] = state.sum(axis=1)
        state /= sums[i, :, None]
    return np.log(sums).sum(axis=0)


def _kept(times: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """exp(-rate dt) between every frame and the one before, (N, R); the first one is 1."""
    return np.exp(-np.diff(times, prepend=times[:1])[:, None].clip(0) * rates)


def label_changes(labels: np.ndarray) -> int:
    """Frames of one face whose label, of (N,), differs from that of the frame before."""
    return int((labels[1:] != labels[:-1]).sum())
