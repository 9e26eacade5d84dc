# SPDX-License-Identifier: Apache-2.0
"""Masks of one's own photos: `Predictor` and what it answers."""

from sst_tf.photos.predictor import Prediction, Predictor, Scene

__all__ = ["Prediction", "Predictor", "Scene"]
