# SPDX-License-Identifier: Apache-2.0
"""Training that starts from a trained model (`train.init`)."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pipelines.errors import UserError
from sst_tf.config import ANSWERING, HELD_OUT, Config, TunerConfig, resolved
from sst_tf.evaluation.metrics import BINS
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.presets.preset import Preset, is_run
from sst_tf.runs.directory import Run, known_classes, known_photos

# What the shapes and the decoder hang on.
SAME = ("method", "backbone", "channels", "embedding_kernel", "comparator")

OUTER = ("initial_step", "second_order")  # of the tuner's keys, those that act in training alone


@dataclass(frozen=True)
class Start:
    """The model that a training starts from.

    Attributes:
        weights: all of its weights, backbone included.
        points: its operating points.
        config: what it was trained with.
        classes: names of the classes that it was trained on.
        photos: how many photos it was trained on, by data set.
    """

    weights: Sequence[np.ndarray]
    points: OperatingPoint | Preset
    config: Config
    classes: Sequence[str]
    photos: dict[str, int]

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
            return cls(run.model().get_weights(), OperatingPoint(run), trained, run.trained_on(),
                       known_photos(run.photos()))
        preset, weights = Preset.load(name), config.model.weights
        trained = preset.config()
        _refuse_others(name, trained, config)
        model = preset.model(None if weights == "none" else weights)
        training = preset.facts["training"]
        return cls(model.get_weights(), preset, trained, known_classes(training["classes"]),
                   known_photos(training["photos"]))

    def tell_other_photos_held_out(self, config: Config) -> None:
        """Print where the photos that choose epoch and threshold may not be new to the model."""
        trained = self.config.data
        if trained.dataset != config.data.dataset:
            return
        for key in HELD_OUT:
            theirs, ours = getattr(trained, key), getattr(config.data, key)
            if theirs != ours:
                print(f"train.init {config.train.init}: was trained with data.{key} {theirs}; with "
                      f"{ours} it may have seen the photos that choose epoch and threshold here; "
                      f"set data.{key} to {theirs} unless these are other photos", file=sys.stderr)

    def refuse_other_answers(self, config: Config) -> None:
        """Points of one way to answer say nothing of another.

        Raises:
            UserError: naming the key that a run which keeps these points must set.
        """
        for (key, theirs), (_, ours) in zip(_asked(self.config), _asked(config), strict=True):
            if theirs != ours:
                raise UserError(f"train.init {config.train.init}: its thresholds are of {key} "
                                f"{theirs}, not {ours}, and no photo is held out to choose others; "
                                f"set {key} to {theirs}")

    def keep_points(self, run: Run, config: Config) -> None:
        """Let a run that no photos were held out for cut where the model that it began as did."""
        point = OperatingPoint(run, config)
        for shots in config.evaluate.shots:
            point.keep(shots, {"tuned": round(self.points.threshold(shots) * BINS)})
            point.keep_presence(shots, {"threshold": self.points.presence_threshold(shots)})


def _asked(config: Config) -> Iterator[tuple[str, Any]]:
    """(key, value) of how a model is asked, beside the number of shots."""
    config = resolved(config)
    for section, keys in (("model", ANSWERING), ("data", ("image_size", "resize")),
                          ("tuner", [one.name for one in fields(TunerConfig)
                                     if one.name not in OUTER])):
        for key in keys:
            yield f"{section}.{key}", getattr(getattr(config, section), key)


def _refuse_others(name, found, config):
    for key in SAME:
        theirs, ours = getattr(found.model, key), getattr(config.model, key)
        if theirs != ours:
            raise UserError(f"train.init {name}: was trained with model.{key} {theirs}, expected "
                            f"{ours} as configured; set model.{key} to {theirs}")
