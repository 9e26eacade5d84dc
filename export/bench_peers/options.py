# SPDX-License-Identifier: Apache-2.0
"""What a race is run with; small enough to travel to other processes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The options of `python -m export.bench_peers` that the measured work knows.

    Attributes:
        preset: whose network, weights and recipe of training.
        root: photos in VOC layout, for reading.
        image_size: side in pixels.
        batch: episodes of a training step, and of a batch that is read.
        episodes: read in a round.
        threads: of every library.
    """

    preset: str = "sst_resnet18"
    root: str = "../shared/data/mini80"
    image_size: int = 257
    batch: int = 8
    episodes: int = 160
    threads: int = 1
