# SPDX-License-Identifier: Apache-2.0
"""Masks of one's own photos: `Predictor` and what it answers."""

from sst_tf.photos.predictor import Prediction, Predictor, Scene
from sst_tf.presets.preset import presets

__all__ = ["Prediction", "Predictor", "Scene", "presets"]
