# SPDX-License-Identifier: Apache-2.0
"""FWB (Nguyen & Todorovic, ICCV 2019): features weighted by relevance, boosted by experts."""

import tensorflow as tf

from sst_tf.model import fusion as fusing
from sst_tf.model import losses
from sst_tf.model.decoder import Decoder
from sst_tf.model.layers import Conv2D, background, cosine, foreground_average, grid, split
from sst_tf.model.methods.base import Head, paired

EXPERTS = 5
STEP = 0.1  # of an expert to the next, as a share of the class vector's length


class FWB(Head):
    """The decoder sees features beside a map of weighted cosines to the class vector.

    Feature weighting. The relevance r tells the support's foreground from its background best: of
    all unit vectors it maximises r . phi, phi the difference of their average features, so
    r = phi / |phi|. It weighs both sides of the cosine, cos(r * f, r * F).

    Boosting, in answers alone. Expert 1 has the support's own class vector f; each next one has
    the vector of the one before after a gradient step on the loss of segmenting the support,
    f' = f - step * dL/df. An expert weighs what its IoU on the support is, and the answer is the
    weighted mean of the experts' probabilities.

    Summary: the experts' class vectors, r, the experts' weights; D = (N + 1) C + N.

    Simplified: the step's length is `STEP` of the vector's, where the paper's is a number for its
    own features. Weights sum to one. With a tuner the experts segment the features that it leaves.

    Args:
        experts: N.
    """

    paper = "Feature Weighting and Boosting for Few-Shot Segmentation (ICCV 2019)"

    def __init__(self, channels: int, dropout: float = 0.0, experts: int = EXPERTS,
                 balanced: bool = False, **kwargs):
        super().__init__(channels, (experts + 1) * channels + experts, balanced, **kwargs)
        self.experts = experts
        self.joint = Conv2D(channels, 3, activation="relu", name="joint")
        self.joint.build((None, None, None, channels + 1))
        self.decoder = Decoder(channels, dropout, name="decoder")

    @classmethod
    def from_settings(cls, model: dict, balanced: bool) -> "FWB":
        """With the decoder's dropout."""
        return cls(model["channels"], model["dropout"], EXPERTS, balanced, name="head")

    def summarise(self, features: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Experts, relevance and weights [N, D]; in training the first expert alone counts."""
        vector, relevance = self._class_vector(features, mask)
        if training:
            vectors = [vector] + [tf.zeros_like(vector)] * (self.experts - 1)
            first = tf.ones_like(vector[:, :1])
            scores = [first] + [tf.zeros_like(first)] * (self.experts - 1)
        else:
            vectors, scores = self._boosted(features, mask, vector, relevance)
        return tf.concat([*vectors, relevance, *scores], axis=-1)

    def segment(self, features: tf.Tensor, summary: tf.Tensor, size, training: bool = False
                ) -> tf.Tensor:
        """The experts' mean answer; in training that of the first."""
        n, c = self.experts, self.channels
        vectors, relevance, scores = tf.split(summary, [n * c, c, n], axis=-1)
        if training:
            return self._answer(features, vectors[:, :c], relevance, size, training)
        photos, each = paired(features, tf.reshape(vectors, [-1, n, c]))
        logits = self._answer(photos, each, tf.repeat(relevance, n, axis=0), size)
        return fusing.average_answers(split(logits, n), fusing.shot_weights(scores))

    def self_segment(self, query_role: tf.Tensor, support_role: tf.Tensor, mask: tf.Tensor
                     ) -> tf.Tensor:
        """S_sup of the first expert (Eq. 8, 9)."""
        vector, relevance = self._class_vector(support_role, mask)
        return self._answer(query_role, vector, relevance, grid(mask))

    def segment_together(self, features: tf.Tensor, summaries: tf.Tensor, scores: tf.Tensor, size,
                         training: bool = False) -> tf.Tensor:
        """Under class vectors averaged over the shots, expert by expert, as one shot."""
        return self.segment(features, tf.reduce_mean(summaries, axis=1), size, training)

    def _class_vector(self, features, mask):
        """f and r, [N, C] each."""
        vector = foreground_average(features, mask)
        phi = vector - foreground_average(features, background(mask))
        length = tf.reduce_sum(tf.square(phi), axis=-1, keepdims=True)
        return vector, phi * tf.math.rsqrt(length + 1e-6)

    def _answer(self, features, vector, relevance, size, training=False):
        # To unit root mean square, as `cosine` knows lengths next to none by that.
        weight = relevance * self.channels**0.5
        similarity = cosine(features * weight[:, None, None, :], vector * weight)  # [B, h, w]
        joint = self.joint(tf.concat([features, similarity[..., None]], axis=-1))
        return self.decoder(joint, size=size, training=training)

    def _boosted(self, features, mask, vector, relevance):
        """Class vectors [N, C] and weights [N, 1] of all experts."""
        vectors, scores = [], []
        for expert in range(self.experts):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(vector)
                logit = self._answer(features, vector, relevance, grid(mask))
                # Summed, so that each support gets the gradient of its own loss.
                loss = tf.reduce_sum(losses.cross_entropy(logit, mask, self.balanced))
            vectors.append(vector)
            scores.append(losses.hard_iou(logit, mask)[:, None])
            if expert + 1 < self.experts:
                gradient = tape.gradient(loss, vector)
                vector -= STEP * tf.math.divide_no_nan(_norm(vector), _norm(gradient)) * gradient
        return vectors, scores


def _norm(x):
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=-1, keepdims=True))
