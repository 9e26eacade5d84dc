# SPDX-License-Identifier: Apache-2.0
"""`SSTSegmenter`: encoder, tuner and head in order, and `train_step`."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from pipelines.errors import UserError
from sst_tf.model import losses
from sst_tf.model.encoder import Encoder
from sst_tf.model.found import look
from sst_tf.model.inference import Inference, spatial
from sst_tf.model.layers import merge, split
from sst_tf.model.methods import METHODS, head_of
from sst_tf.model.random import uniform
from sst_tf.model.tuner import Tuner


class Segmentation(NamedTuple):
    """The answer to B episodes of K shots; log-odds maps at the masks' full size."""

    logit: tf.Tensor  # S [B, H, W]
    support_logit: tf.Tensor | None  # S_sup before tuning [B, K, H, W]; None where not needed
    relative_update: tf.Tensor | None  # [B, K]
    own_loss: tf.Tensor | None = None  # of the method beside cross-entropies [B]; in training


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """What happens to gradients before the optimizer sees them.

    Attributes:
        weight_decay: coupled L2 on kernels, added to the gradient.
        head_multiplier: learning rate of everything but the backbone over the backbone's.
        clip_norm: global norm that gradients are clipped to; 0 leaves them.
    """

    weight_decay: float = 0.0
    head_multiplier: float = 1.0
    clip_norm: float = 0.0


@keras.saving.register_keras_serializable("sst_tf")
class SSTSegmenter(keras.Model):
    """Few-shot segmenter with self-supervised tuning (Zhu et al., IJCAI 2020).

    Args:
        model: {"method", "backbone", "channels", "dropout", "train_backbone", "comparator",
            "feature_dropout", "embedding_kernel", "second_look"}; the method is SST where it is
            not given (`sst_tf.model.methods`).
        tuner: arguments of `sst_tf.model.tuner.Tuner`.
        loss: {"auxiliary": weight of the self-segmentation loss, "balanced": bool}.
        optimizer_options: `OptimizerOptions`, or its fields as a dictionary.
        fusion: of K > 1 shots in answers, where a call does not say: "weighted", "average" or
            "maximum". Training has the method's own, "weighted".

    Attributes:
        inference: `sst_tf.model.inference.Inference`, for photos that are not trained on.

    Call: an episode dictionary (batched, see `pipelines`): `support_image` [B, K, H, W, 3] and
    `query_image` [B, H, W, 3] raw RGB, `support_mask` [B, K, H, W]; or `support_features` and
    `query_features` of a frozen backbone in the images' place. Returns `Segmentation`.
    """

    def __init__(self, model: dict, tuner: dict, loss: dict, optimizer_options=None,
                 fusion: str = "weighted", **kwargs):
        super().__init__(**kwargs)
        if not isinstance(optimizer_options, OptimizerOptions):
            optimizer_options = OptimizerOptions(**(optimizer_options or {}))
        self.optimizer_options = optimizer_options
        self.settings: dict[str, Any] = {
            "model": dict(model), "tuner": dict(tuner), "loss": dict(loss),
            "optimizer_options": dataclasses.asdict(optimizer_options), "fusion": fusion}
        self.auxiliary = float(loss["auxiliary"])
        self.balanced = bool(loss["balanced"])
        self.fusion, self.second_look = fusion, float(model.get("second_look", 0.0))
        self.feature_dropout = float(model.get("feature_dropout", 0.0))
        signed = METHODS[model.get("method", "sst")].signed
        self.encoder = Encoder(model["backbone"], model["channels"], model["train_backbone"],
                               signed, model.get("embedding_kernel", 3), name="encoder")
        # By identity: a backbone's variables do not have it in their paths.
        self.backbone_ids = {id(v) for v in self.encoder.backbone.variables}
        with dtype_policy("float32"):  # the inner step and all it differentiates
            self.head = head_of(model, self.balanced)
            self.tuner = Tuner(**tuner, name="tuner")
        self.inference = Inference(self.encoder, self.tuner, self.head)
        if self.feature_dropout:
            self.random = keras.random.SeedGenerator()
        self.trackers = {name: keras.metrics.Mean(name) for name in (
            "loss", "main", "auxiliary", "support_iou", "relative_update")}
        self.build(None)

    def build(self, input_shape) -> None:
        """Every part was built with its weights in `__init__`."""
        self.built = True

    def get_config(self) -> dict:
        """What the constructor takes."""
        return {**super().get_config(), **self.settings}

    @classmethod
    def from_config(cls, config: dict) -> "SSTSegmenter":
        """Also of files that were written when the options of the optimizer were its "rules"."""
        config = dict(config)
        if "optimizer_rules" in config:
            config["optimizer_options"] = config.pop("optimizer_rules")
        return super().from_config(config)

    @property
    def answering(self) -> tuple[str, float]:
        """Fusion and second look, as `Inference.segment` takes them."""
        return self.fusion, self.second_look

    def answer_by(self, fusion: str, second_look: float) -> None:
        """Answer so from now on; no weight depends on it."""
        self.fusion, self.second_look = fusion, second_look
        self.settings = {**self.settings, "fusion": fusion,
                         "model": {**self.settings["model"], "second_look": second_look}}

    @property
    def own_weights(self) -> list:
        """Weights of everything but the backbone: embedding, head, a learned step."""
        return [v for v in self.weights if id(v) not in self.backbone_ids]

    # ---- the method, in the paper's order --------------------------------------------------

    def encode(self, episode: dict, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """R_s [B K, h, w, C] and R_q [B, h, w, C], float32 (Eq. 2, 3)."""
        # Apart, as `Inference` does: a library may round a photo's features otherwise in a larger
        # batch, and the tuning step's ReLU gates are sharp edges.
        cached = "query_features" in episode
        kind = "features" if cached else "image"
        support, query = episode[f"support_{kind}"], episode[f"query_{kind}"]
        shots = support.shape[1]
        support, query = (one if cached else self.encoder.features(one, training)
                          for one in (merge(support), query))
        if training and self.feature_dropout:
            left = self._channels_left(query)
            support, query = support * tf.repeat(left, shots, axis=0), query * left
        return tuple(tf.cast(self.encoder.embed(one), tf.float32) for one in (support, query))

    def _channels_left(self, features):
        """[B, 1, 1, C_b] of 0 and 1 / (1 - rate): all photos of an episode lose the same channels,
        so that what is compared stays comparable.
        """
        shape = (tf.shape(features)[0], 1, 1, features.shape[-1])
        left = uniform(shape, self.random) >= self.feature_dropout
        return tf.cast(left, features.dtype) / (1 - self.feature_dropout)

    def call(self, episode: dict, training: bool = False, fusion: str | None = None
             ) -> Segmentation:
        """S of each query under its tuned supports (Eq. 2 to 14)."""
        mask = episode["support_mask"]  # [B, K, H, W]
        shots, size = mask.shape[1], spatial(mask)
        # `self.fusion` is how a trained model is asked: weights do not depend on it.
        fusion = fusion or ("weighted" if training else self.fusion)
        support, query = self.encode(episode, training)
        if training and shots == 1 and self.tuner.steps == 0 and self.auxiliary == 0:
            # The plain row of table 1 has no use for the self-segmentation: do not pay for it.
            summary = self.head.summarise(support, merge(mask), training)
            logit = self.head.segment(query, summary, size, training)
            return Segmentation(logit, None, None, self._own_loss(episode, support, query, logit))
        tuned = self.tuner(support, merge(mask), head=self.head, training=training)
        scores = split(losses.hard_iou(tuned.logit, merge(mask)), shots)  # [B, K]
        asked = query, split(tuned.prototype, shots), scores, size, fusion
        logit = (self.head.segment_shots(*asked, training) if training
                 else look(self.head, *asked, self.second_look))
        own = self._own_loss(episode, support, query, logit) if training else None
        return Segmentation(logit, split(tuned.logit, shots),
                            split(tuned.relative_update, shots), own)

    def _own_loss(self, episode, support, query, logit):
        mask = episode["support_mask"]
        return self.head.own_loss(split(support, mask.shape[1]), mask, query,
                                  episode["query_mask"], logit)

    # ---- training ---------------------------------------------------------------------------

    def losses_of(self, episode: dict, training: bool = False
                  ) -> tuple[tf.Tensor, tf.Tensor | None, Segmentation]:
        """Main and auxiliary loss per episode, [B] each, with the `Segmentation`.

        The auxiliary loss is None where nothing needs the self-segmentation.
        """
        answer = self(episode, training=training)
        main = losses.cross_entropy(answer.logit, episode["query_mask"], self.balanced)
        if answer.support_logit is None:
            return main, None, answer
        mask = episode["support_mask"]
        auxiliary = losses.cross_entropy(merge(answer.support_logit), merge(mask), self.balanced)
        return main, tf.reduce_mean(split(auxiliary, mask.shape[1]), axis=1), answer

    def train_step(self, episode: dict) -> dict:
        """One outer step (Eq. 1); the inner tape of the tuner runs inside the outer one."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as outer:
            main, auxiliary, answer = self.losses_of(episode, training=True)
            loss = tf.reduce_mean(main)
            if self.auxiliary > 0:
                loss += self.auxiliary * tf.reduce_mean(auxiliary)
            if answer.own_loss is not None:
                loss += tf.reduce_mean(answer.own_loss)
            scaled = loss / replicas
        variables = self.trainable_variables
        gradients = outer.gradient(scaled, variables)
        lost = [v.path for v, g in zip(variables, gradients, strict=True) if g is None]
        if lost:
            raise UserError(f"no gradient reaches {', '.join(lost)}")
        if replicas > 1:
            # Summed first: each replica would add its own weight decay, and clip its
            # own part. The optimizer sums once more, so that each hands it a share.
            gradients = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
        gradients = [self._adjusted(g, v) for g, v in zip(gradients, variables, strict=True)]
        if self.optimizer_options.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.optimizer_options.clip_norm)
        self.optimizer.apply_gradients([(g / replicas, v) for g, v in
                                        zip(gradients, variables, strict=True)])
        measured = self._track(loss, main, auxiliary, answer, episode)
        return {name: self.trackers[name].result() for name in measured}

    def _adjusted(self, gradient, variable):
        options = self.optimizer_options
        # Coupled L2, as in the SGD of the paper's time, on kernels; never on a learned step.
        if options.weight_decay and variable.name == "kernel":
            gradient += options.weight_decay * variable
        if options.head_multiplier != 1.0 and id(variable) not in self.backbone_ids:
            gradient *= options.head_multiplier
        return gradient

    def _track(self, loss, main, auxiliary, answer, episode):
        """Names of what was measured; without self-segmentation there is nothing to say of it."""
        # The unscaled loss: `loss / replicas` would report a part of it.
        values = {"loss": loss, "main": main}
        if answer.support_logit is not None:
            values |= {"auxiliary": auxiliary, "relative_update": answer.relative_update,
                       "support_iou": losses.hard_iou(merge(answer.support_logit),
                                                      merge(episode["support_mask"]))}
        for name, value in values.items():
            # As one number: under bfloat16 products TensorFlow would keep a tracker's sum of
            # several in bfloat16, and a mean in float32.
            self.trackers[name].update_state(tf.reduce_mean(tf.stop_gradient(value)))
        return list(values)

    @property
    def metrics(self) -> list:
        """Keras resets these between epochs."""
        return list(self.trackers.values())


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers built inside have the Keras dtype policy `name`."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
