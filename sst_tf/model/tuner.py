# SPDX-License-Identifier: Apache-2.0
"""Self-supervised tuning: the inner step on the support features (Eq. 4, 5, 8-11).

The support photo is segmented with its own mask, the loss is differentiated with respect to the
photo's own features, and the features are corrected. Network weights stay as they are.

    M_sup = f_m(R_s, pool(R_s, T_S))        Eq. 8, 12     R_s has two roles: query and support
    S_sup = f_d(M_sup)                      Eq. 9
    L_sup = CE(S_sup, T_S)                  Eq. 10
    R'_s  = R_s - step * dL_sup / dR_s      Eq. 11        total derivative, through both roles
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sst_tf.model import losses
from sst_tf.model.layers import grid, norm, pool_weights
from sst_tf.model.methods import Head


class Tuned(NamedTuple):
    """What tuning leaves, for N supports (episodes x shots), each on its own."""

    features: tf.Tensor  # R'_s [N, h, w, C]
    prototype: tf.Tensor  # summary of R'_s; of SST, what is pooled from it [N, D]
    untuned_prototype: tf.Tensor  # summary of R_s [N, D]
    logit: tf.Tensor  # S_sup before tuning, foreground log-odds [N, H, W]
    relative_update: tf.Tensor  # norm of the masked update over that of the masked R_s [N]


class Tuner(keras.layers.Layer):
    """The base learner f_b (Eq. 4) and the update f_t (Eq. 5).

    Args:
        steps: inner steps; 0 switches tuning off. A later step starts from the R'_s before it.
        step_size: a number, or "learned": one positive scalar trained with the rest.
        initial_step: where a learned step starts.
        reduction: "mean" or "sum" of the loss over the pixels of a support.
        normalize: "none", or "relative": the update's norm over the masked map of each support
            is `step_size` times the features', and both norms are constants to the outer gradient.
            "direction" makes the same update and differentiates the norms, too: a constant norm
            tells the outer gradient that a larger L_sup makes a longer step, which it does not.
        through: "both" roles of R_s (Eq. 11), or "prototype": the support role alone.
        second_order: False stops the outer gradient at the update.
        loss: "cross_entropy" (the paper's) or "balanced".
    """

    def __init__(self, steps: int = 1, step_size: float | str = 1.0, initial_step: float = 0.1,
                 reduction: str = "mean", normalize: str = "none", through: str = "both",
                 second_order: bool = True, loss: str = "cross_entropy", **kwargs):
        super().__init__(**kwargs)
        self.steps = steps
        self.reduction = reduction
        self.normalize = normalize
        self.through = through
        self.second_order = second_order
        self.balanced = loss == "balanced"
        self.learned = step_size == "learned"
        if self.learned and steps > 0:
            # softplus(raw) > 0; starts at `initial_step`.
            raw = np.log(np.expm1(initial_step))
            self.raw_step = self.add_weight(
                shape=(), initializer=keras.initializers.Constant(raw), name="raw_step")
        else:
            self.fixed_step = initial_step if self.learned else float(step_size)

    @property
    def step_size(self) -> tf.Tensor:
        """The step as a positive scalar."""
        if self.learned and self.steps > 0:
            return tf.math.softplus(tf.convert_to_tensor(self.raw_step))
        return tf.constant(self.fixed_step, tf.float32)

    def loss(self, logit: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """L_sup (Eq. 10), reduced per support and never over them: [N, H, W] -> [N]."""
        loss = losses.cross_entropy(logit, mask, self.balanced)
        return loss * losses.counted_pixels(mask) if self.reduction == "sum" else loss

    def gradient(self, features: tf.Tensor, original: tf.Tensor, mask: tf.Tensor, head: Head
                 ) -> tuple[tf.Tensor, tf.Tensor]:
        """theta_s of Eq. 4, dL_sup / dR_s of Eq. 11, at `features`: [N, h, w, C]; and S_sup.

        Summed over the supports before it is differentiated, so that each support gets the
        gradient of its own loss: alone or in company, the same numbers.
        """
        # A tensor of its own: the other role stays out of this gradient but not of the outer one,
        # which S_sup passes on to the auxiliary loss.
        support_role = tf.identity(features)
        query_role = support_role if self.through == "both" else original
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(support_role)
            logit = head.self_segment(query_role, support_role, mask)
            total = tf.reduce_sum(self.loss(logit, mask))
        return tape.gradient(total, support_role), logit

    def update(self, features: tf.Tensor, gradient: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What Eq. 11 takes off the features, [N, h, w, C]."""
        update = self.step_size * gradient
        if self.normalize != "none":
            scale = tf.math.divide_no_nan(norm(features * weights), norm(gradient * weights))
            scale = tf.stop_gradient(scale) if self.normalize == "relative" else scale
            update *= scale[:, None, None, None]
        return update if self.second_order else tf.stop_gradient(update)

    def call(self, features: tf.Tensor, mask: tf.Tensor, *, head: Head, training: bool = False
             ) -> Tuned:
        """R'_s = f_t(R_s; theta_s) of N supports (Eq. 5, 11).

        Args:
            features: R_s [N, h, w, C] float; the step is computed in float32.
            mask: T_S [N, H, W] at full size: 0, 1, 255.
            head: f_m and f_d, or another method. Its dropout is off in the step.
            training: of the summaries, see `Head.summarise`.
        """
        features = tf.cast(features, tf.float32)
        weights = pool_weights(mask, grid(features))  # [N, h, w, 1]
        tuned, first_logit = features, None
        for _ in range(self.steps):
            gradient, logit = self.gradient(tuned, features, mask, head)
            tuned -= self.update(tuned, gradient, weights)
            first_logit = logit if first_logit is None else first_logit
        if first_logit is None:
            first_logit = head.self_segment(features, features, mask)
        moved = tf.math.divide_no_nan(norm((tuned - features) * weights),
                                      norm(features * weights))
        untuned = head.summarise(features, mask, training)
        summary = head.summarise(tuned, mask, training) if self.steps else untuned
        return Tuned(tuned, summary, untuned, first_logit, tf.stop_gradient(moved))
