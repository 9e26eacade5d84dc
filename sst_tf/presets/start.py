# SPDX-License-Identifier: Apache-2.0
"""Training that starts from a trained model (`train.init`)."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.errors import UserError
from sst_tf.config import ANSWERING, HELD_OUT, Config, DataConfig
from sst_tf.evaluation.metrics import BINS
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.presets.preset import Preset, is_run
from sst_tf.runs.directory import Run, known_classes

# What the shapes and the decoder hang on.
SAME = ("method", "backbone", "channels", "embedding_kernel", "comparator")


@dataclass(frozen=True)
class Start:
    """The model that a training starts from.

    Attributes:
        weights: all of its weights, backbone included.
        points: its operating points.
        answering: fusion and second look that these are of.
        classes: names of the classes that it was trained on.
        data: configuration of the photos that it was trained on.
    """

    weights: Sequence[np.ndarray]
    points: OperatingPoint | Preset
    answering: tuple[str, float]
    classes: Sequence[str]
    data: DataConfig

    @classmethod
    def of(cls, name: str, config: Config) -> "Start":
        """Read a trained model.

        Args:
            name: `train.init`: a preset's name or file, or a run directory.
            config: what is to be trained from it. The weights of a preset's backbone are its
                `model.weights`, or where that is "none" looked for as `Predictor.from_preset` does.
        Raises:
            UserError: no such model, or one of another shape than `model` describes.
        """
        if is_run(name):
            run = Run.open(name)
            trained = run.config()
            _refuse_others(name, trained, config)
            return cls(run.model().get_weights(), OperatingPoint(run), trained.model.answering,
                       run.trained_on(), trained.data)
        preset, weights = Preset.load(name), config.model.weights
        trained = preset.config()
        _refuse_others(name, trained, config)
        model = preset.model(None if weights == "none" else weights)
        return cls(model.get_weights(), preset, trained.model.answering,
                   known_classes(preset.facts["training"]["classes"]), trained.data)

    def tell_other_photos_held_out(self, config: Config) -> None:
        """Print where the photos that choose epoch and threshold may not be new to the model."""
        if self.data.dataset != config.data.dataset:
            return
        for key in HELD_OUT:
            theirs, ours = getattr(self.data, key), getattr(config.data, key)
            if theirs != ours:
                print(f"train.init {config.train.init}: was trained with data.{key} {theirs}; with "
                      f"{ours} it may have seen the photos that choose epoch and threshold here; "
                      f"set data.{key} to {theirs} unless these are other photos", file=sys.stderr)

    def refuse_other_answers(self, config: Config) -> None:
        """Points of one way to answer say nothing of another.

        Raises:
            UserError: naming the key that a run which keeps these points must set.
        """
        for key, theirs, ours in zip(ANSWERING, self.answering, config.model.answering,
                                     strict=True):
            if theirs != ours:
                raise UserError(f"train.init {config.train.init}: its thresholds are of "
                                f"model.{key} {theirs}, not {ours}, and no photo is held out to "
                                f"choose others; set model.{key} to {theirs}")

    def keep_points(self, run: Run, config: Config) -> None:
        """Let a run that no photos were held out for cut where the model that it began as did."""
        point = OperatingPoint(run, config)
        for shots in config.evaluate.shots:
            point.keep(shots, {"tuned": round(self.points.threshold(shots) * BINS)})
            point.keep_presence(shots, {"threshold": self.points.presence_threshold(shots)})


def _refuse_others(name, found, config):
    for key in SAME:
        theirs, ours = getattr(found.model, key), getattr(config.model, key)
        if theirs != ours:
            raise UserError(f"train.init {name}: was trained with model.{key} {theirs}, expected "
                            f"{ours} as configured; set model.{key} to {theirs}")
