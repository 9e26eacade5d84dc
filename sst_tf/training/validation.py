# SPDX-License-Identifier: Apache-2.0
"""What is looked at after each epoch: scores of held-out photos, the best model, a lost loss."""

import contextlib
import time

import keras
import numpy as np

from pipelines.errors import UserError
from sst_tf.data import seeds
from sst_tf.data.photo_bank import open_bank
from sst_tf.data.scoring_options import ScoringOptions
from sst_tf.evaluation import metrics
from sst_tf.evaluation.scoring import score
from sst_tf.training.precision import products


class Validation(keras.callbacks.Callback):
    """Scores base and novel episodes, keeps the best model, writes history and `last.npz`."""

    def __init__(self, run, config, data, store, state):
        super().__init__()
        self.run, self.config, self.data, self.store = run, config, data, store
        self.state = state
        self.parts = {}
        for part, split, count in (("base", "validation", config.train.validation_episodes),
                                   ("novel", "novel", config.train.novel_episodes)):
            if count and getattr(data, split):
                episodes = data.sampler(split, 1, seeds.VALIDATION).take(count)
                options = ScoringOptions(ignore_ids=data.void_in(split))
                self.parts[part] = (open_bank(config, data.source, episodes, options, store),
                                    episodes)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.time()

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        row = {"epoch": epoch, "seconds": round(time.time() - self.started, 1), **logs}
        if (epoch + 1) % self.config.train.validation_every == 0 or (
                epoch + 1 == self.config.train.epochs):
            with products("float32"), self._averaged():
                for part, (bank, episodes) in self.parts.items():
                    values = self._validate(part, bank, episodes)
                    row |= values
                    logs |= values  # the progress bar prints them
                self._keep_best(epoch, row)
        self.run.append_history(row)
        self.state["epoch"] = epoch + 1
        self.run.save_last(self.model, self.state)

    @contextlib.contextmanager
    def _averaged(self):
        """The weights' moving average in their place, where the optimizer keeps one."""
        if not self.config.optimizer.average:
            yield
            return
        # Not Keras' SwapEMAWeights: its sums and differences move the weights by a rounding.
        weights = self.model.trainable_variables
        kept = [variable.numpy() for variable in weights]
        self.model.optimizer.finalize_variable_values(weights)
        try:
            yield
        finally:
            for variable, value in zip(weights, kept, strict=True):
                variable.assign(value)

    def _validate(self, part, bank, episodes):
        scored = score(self.model, bank, episodes, self.config.evaluate.batch)
        counts = scored.counts["tuned"]
        values = {f"{part}_miou": float(metrics.mean_iou(counts))}
        if part == "base":
            self.state["threshold"] = metrics.best_threshold(counts)
            values |= {"support_iou_before": scored.support_iou["before"],
                       "support_iou_after": scored.support_iou["after"]}
        # Both at the threshold that base classes choose: mIoU at 0.5 follows the bias as well.
        if (chosen := self.state.get("threshold")) is not None:
            values[f"{part}_miou_chosen"] = float(metrics.mean_iou(counts, chosen))
        return values

    def _keep_best(self, epoch, row):
        value = row.get(f"{self.config.train.select_on}_miou_chosen")
        if not self.data.validation:  # nothing to choose by
            self.run.save_model(self.model)
        elif value is not None and value > self.state.get("best", -1.0):
            self.state |= {"best": value, "best_epoch": epoch + 1}
            self.run.save_model(self.model)


class StopOnNaN(keras.callbacks.Callback):
    """Ends a run whose loss is not finite, with a message instead of hours of NaN."""

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        if not np.isfinite(logs["loss"]):
            self._stop(f"the loss is {logs['loss']} at step {batch} of this epoch")

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        # The last step's loss was that of the weights before it.
        if not all(np.isfinite(v.numpy()).all() for v in self.model.trainable_variables):
            self._stop("weights are no number at the end of this epoch")

    def _stop(self, what):
        raise UserError(
            f"train: {what}; lower optimizer.learning_rate or tuner.step_size, or set "
            "optimizer.clip_norm 1.0. The last whole epoch is kept: change the configuration and "
            "start a new run")
