# SPDX-License-Identifier: Apache-2.0
"""How answers are made and counted."""

from dataclasses import dataclass

PLAIN = (1.0, False)  # a view: scale, mirrored


@dataclass(frozen=True)
class ScoringOptions:
    """How answers are made and counted.

    Attributes:
        views: (scale, mirrored) of the query; the probabilities of all are averaged.
        scoring: IoU at the "network"'s size or at the photo's "original" one.
        void_query, void_support: pixels of 255 are "ignored" or count as "background".
        fusion: of K > 1 shots, "weighted", "average" or "maximum".
        second_look: share of what is found in the summaries of a second look; 0 looks once.
        ignore_ids: classes whose pixels are void in every photo, as in training.
    """

    views: tuple = (PLAIN,)
    scoring: str = "network"
    void_query: str = "ignored"
    void_support: str = "ignored"
    fusion: str = "weighted"
    second_look: float = 0.0
    ignore_ids: tuple[int, ...] = ()
