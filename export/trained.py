# SPDX-License-Identifier: Apache-2.0
"""A trained run as the exporters need it: model, operating point, photos to try it on."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from export.encoders import ENCODERS
from export.signatures import Signatures
from pipelines import Episode, EpisodeSampler, Source, episode_dataset
from pipelines.errors import DataError, UserError
from pipelines.index import build_index
from pipelines.sources import open_source
from sst_tf.config import Config
from sst_tf.data.run_data import open_data
from sst_tf.evaluation.metrics import BINS
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.model.segmenter import Segmentation, SSTSegmenter, dtype_policy
from sst_tf.runs.directory import Run


@dataclass
class Trained:
    """A run that can be exported.

    Attributes:
        run, config: where it is and what it was trained with.
        model: `SSTSegmenter`, its encoder in the asked-for type, the rest in float32.
        shots: K.
        threshold: bin of the operating point at K shots.
        wide: the same with the run's own model, where the encoder is in fewer bits; else None.
        told: whether whoever loaded it named the folder of its data set.
    """

    run: Run
    config: Config
    model: SSTSegmenter
    shots: int
    threshold: int
    wide: "Trained | None" = None
    told: bool = False

    @classmethod
    def load(cls, run_dir: str | Path, shots: int = 1, encoder: str = "float32",
             threshold: float | None = None, data_root: str | None = None) -> "Trained":
        """Open a run directory.

        Args:
            encoder: "float32", or "bfloat16" | "float16" for the backbone and the embedding.
            threshold: 0..1 instead of the one that the run's evaluation chose on base classes.
            data_root: folder of the run's data set, where it is not where it was; data sets that
                were joined to it are left out.
        """
        run = Run.open(run_dir)
        if threshold is None:
            chosen = OperatingPoint(run).known(shots)
            if chosen is None:
                raise UserError(
                    f"{run.thresholds_path}: no threshold for {shots} shots; choose one with "
                    f"sst evaluate {run_dir} --evaluate.shots '[{shots}]', or give --threshold "
                    "(sst export-saved-model and sst export-onnx have it)")
            threshold = chosen["tuned"] / BINS
        if not 0 <= threshold <= 1:
            raise UserError(f"--threshold: {threshold} is not within 0..1")
        if abs(threshold * BINS - round(threshold * BINS)) > 1e-6:
            raise UserError(f"--threshold: {threshold}: expected a whole number of hundredths, as "
                            f"{round(threshold * BINS) / BINS:.2f}")
        config = run.config()
        if data_root is not None:
            config = replace(config, data=replace(config.data, root=data_root, join=[]))
        trained = cls(run, config, run.model(), shots, round(threshold * BINS),
                      told=data_root is not None)
        if encoder == "float32":
            return trained
        with dtype_policy(ENCODERS[encoder]):
            narrow = SSTSegmenter(**trained.model.settings)
        narrow.set_weights(trained.model.get_weights())
        return replace(trained, model=narrow, wide=trained)

    @functools.cached_property
    def answer(self) -> Callable[[dict[str, tf.Tensor]], Segmentation]:
        """The Keras model's own call as a graph: episode dictionary to `Segmentation`."""
        return tf.function(lambda episode: self.model(episode), autograph=False)

    def signatures(self, fixed: bool = False, jit_compile: bool = False) -> Signatures:
        """`export.signatures.Signatures` of it."""
        data = self.config.data
        return Signatures(self.model, self.shots, self.threshold, data.image_size, data.resize,
                          fixed, jit_compile)

    def class_names(self) -> dict[str, list[str]]:
        """{"base": names, "novel": names} that training knew and did not know."""
        return self.run.classes() or self._data.class_names()

    def episodes(self, count: int, seed: int = 0) -> tuple[list[Episode], Source]:
        """(list of `count` episodes of base classes, a source) and what they come from.

        From the run's own validation photos, or where none were held out its training ones; where
        its data set is not at hand or too small for the shots, from the drawn shapes, which every
        installation has. A folder that `load` was told must hold it.
        """
        try:
            return (self.validation(count, seed) if self._data.validation else
                    (self.training(count, seed), self._data.source))
        except DataError:
            if self.told:
                raise
            source = open_source("shapes", image_size=self.config.data.image_size, count=200)
            pairs = build_index(source, source.image_ids("all"), "none").pairs
            sampler = EpisodeSampler(pairs, self.shots, seed, class_names=source.classes)
            return sampler.take(count), source

    def validation(self, count: int, seed: int = 0) -> tuple[list[Episode], Source]:
        """`episodes` of the run's own validation photos; DataError where they are not at hand."""
        return self._data.sampler("validation", self.shots, seed).take(count), self._data.source

    def training(self, count: int, seed: int = 0) -> list[Episode]:
        """As many episodes of the run's training photos."""
        return self._data.sampler("train", self.shots, seed).take(count)

    @functools.cached_property
    def _data(self):
        return open_data(self.config)

    def batches(self, episodes: list[Episode], source: Source,
                batch: int = 1) -> Iterator[dict[str, np.ndarray]]:
        """`segment`'s inputs as NumPy arrays, one dictionary a batch."""
        data = self.config.data
        for one in episode_dataset(source, episodes, image_size=data.image_size, batch=batch,
                                   resize=data.resize):
            yield {name: one[name].numpy() for name in ("support_image", "support_mask",
                                                        "query_image")}
