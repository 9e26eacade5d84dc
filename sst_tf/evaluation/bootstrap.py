# SPDX-License-Identifier: Apache-2.0
"""Intervals over photos: what another draw of the photos might have given."""

from collections.abc import Sequence

import numpy as np


def photo_weights(photos: Sequence[tuple[str, ...]], resamples: int, seed: int = 0) -> np.ndarray:
    """Bootstrap weights [R, E] that resample photos, not episodes.

    Episodes share photos: fewer than two hundred photos may make a thousand episodes, which are
    then far from independent. Each resample draws the photos with replacement; an episode weighs
    the multiplicity of its query times the mean multiplicity of its supports (two crossed
    factors, as in the pigeonhole bootstrap of Owen, 2007).

    Args:
        photos: per episode the query's name, then the supports', as `metrics.Counts.photos`.
        resamples: R.
    """
    names = sorted({name for row in photos for name in row})
    number = {name: i for i, name in enumerate(names)}
    rows = np.array([[number[name] for name in row] for row in photos])
    draws = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=resamples)  # [R, P]
    return draws[:, rows[:, 0]] * draws[:, rows[:, 1:]].mean(-1)


def interval(values: np.ndarray) -> list[float]:
    """Central 95 % of resampled values, [low, high]; those that are no number do not count."""
    found = values[~np.isnan(values)]
    return [float(v) for v in np.percentile(found, [2.5, 97.5])] if len(found) else [np.nan] * 2
