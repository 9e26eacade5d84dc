# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Datasets builders of PASCAL-5i and COCO-20i, and episodes from what they prepare."""

from pipelines.tfds.builders import Coco20i, Pascal5i
from pipelines.tfds.source import TFDSSource

__all__ = ["Coco20i", "Pascal5i", "TFDSSource"]
