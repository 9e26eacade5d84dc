# SPDX-License-Identifier: Apache-2.0
"""Pictures of a report: the paper's figures 3 to 6 from one's own runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

import pipelines
from pipelines.errors import UserError
from pipelines.reading.transforms import resize_mask
from pipelines.sampler import Episode
from pipelines.sources.masks import merged
from pipelines.writing import replacing
from sst_tf.config import Config
from sst_tf.data.run_data import RunData
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.reporting.drawing import GREEN, ORANGE, SIDE, overlay, sheet
from sst_tf.runs.directory import Run


class Painter:
    """Draws a run's answers.

    Args:
        run, config, model, data: as `sst_tf.evaluate` opens them.
        side: of a photo in the pictures, pixels.
        point: where answers are cut; the run's own by default.
    """

    def __init__(self, run: Run, config: Config, model: SSTSegmenter, data: RunData,
                 side: int = SIDE, point: OperatingPoint | None = None):
        self.run, self.config, self.model, self.data = run, config, model, data
        self.side = side
        self.size, self.point = config.data.image_size, point or OperatingPoint(run)

    def threshold(self, shots: int, name: str = "tuned") -> float:
        """The operating point at k shots."""
        return self.point.threshold(shots, name)

    def batches(self, episodes: Sequence[Episode]) -> Iterator[dict[str, tf.Tensor]]:
        """One episode's arrays at a time."""
        return pipelines.episode_dataset(self.data.source, episodes, image_size=self.size, batch=1,
                                         resize=self.config.data.resize)

    def tuning(self, episodes: Sequence[Episode]) -> np.ndarray:
        """Figure 3: support, query, truth, before, after, gradient; a row a 1-shot episode."""
        rows, labels = [], []
        for episode in self.batches(episodes):
            support, query = self._encoded(episode)
            mask = episode["support_mask"][:, 0]
            tuned = self.model.inference.tune(support, mask)
            photo, shown = episode["query_image"][0].numpy(), episode["support_image"][0, 0].numpy()
            answers = [self._answer(query, prototype, tuned.score[None], 1, name)
                       for name, prototype in (("untuned", tuned.untuned_prototype[:, None]),
                                               ("tuned", tuned.prototype[:, None]))]
            moved = self.model.inference.self_segment(support, mask).step[0].numpy()
            rows.append([overlay(shown, episode["support_mask"][0, 0].numpy(), GREEN), photo,
                         overlay(photo, episode["query_mask"][0].numpy(), GREEN),
                         *(overlay(photo, one, ORANGE) for one in answers), heat(shown, moved)])
            labels.append(self.data.source.classes[int(episode["class_id"][0]) - 1])
        return sheet(rows, ("support", "query", "truth", "before", "after", "gradient"), labels,
                     self.side)

    def own(self, episodes: Sequence[Episode]) -> list[list[np.ndarray]]:
        """Columns of figure 4: each support segmented by its own prototype, before and after."""
        columns = []
        for episode in self.batches(episodes):
            features = self._encoded(episode)[0]
            own = self.model.inference.self_segment(features, episode["support_mask"][:, 0])
            photo = episode["support_image"][0, 0].numpy()
            columns.append([overlay(photo, (logit[0] > 0).numpy().astype(np.uint8), ORANGE)
                            for logit in (own.before, own.after)])
        return columns

    def shots(self, episodes: Sequence[Episode]) -> np.ndarray:
        """Figure 5: a query under k supports together, then under each alone."""
        rows = []
        for episode in self.batches(episodes):
            support, query = self._encoded(episode)
            tuned = self.model.inference.tune(support, episode["support_mask"][0])
            photo, count = episode["query_image"][0].numpy(), len(tuned.score)
            row = [overlay(photo, episode["query_mask"][0].numpy(), GREEN),
                   overlay(photo, self._answer(query, tuned.prototype[None], tuned.score[None],
                                               count), ORANGE)]
            row += [overlay(photo, self._answer(query, tuned.prototype[None, i:i + 1],
                                                tuned.score[None, i:i + 1], 1), ORANGE)
                    for i in range(count)]
            rows.append(row)
        count = len(rows[0]) - 2
        return sheet(rows, ("truth", f"{count}-shot", *(f"shot {i + 1}" for i in range(count))),
                     side=self.side)

    def confusion(self, episodes: Sequence[Episode]) -> dict[str, int]:
        """Where false foreground lies: {"background": pixels, class name: pixels}, of all."""
        found = {}
        for episode, arrays in zip(episodes, self.batches(episodes), strict=True):
            support, query = self._encoded(arrays)
            tuned = self.model.inference.tune(support, arrays["support_mask"][:, 0])
            answer = self._answer(query, tuned.prototype[:, None], tuned.score[None], 1)
            wrong = (answer == 1) & (arrays["query_mask"][0].numpy() == 0)
            # A data set may have more classes than an index mask names; a photo has not.
            masks = self.data.source.class_masks(episode.query)
            shown = sorted(masks)
            index = np.asarray(resize_mask(tf.constant(merged(masks, shown)), self.size,
                                           self.config.data.resize))
            for value, pixels in zip(*np.unique(index[wrong], return_counts=True), strict=True):
                name = ("background" if value in (0, 255) else
                        self.data.source.classes[shown[value - 1] - 1])
                found[name] = found.get(name, 0) + int(pixels)
        return found

    def _encoded(self, episode):
        """R of the supports [K, h, w, C] and of the query [1, h, w, C] of one episode."""
        return (self.model.inference.embed_photos(episode["support_image"][0]),
                self.model.inference.embed_photos(episode["query_image"]))

    def _answer(self, query, prototype, scores, shots, name="tuned"):
        size = (self.size, self.size)
        probability = self.model.inference.segment(
            query, prototype, tf.reshape(scores, (1, -1)), size, *self.config.model.answering
        )[0].numpy()
        return (probability >= self.threshold(shots, name)).astype(np.uint8)


def heat(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map as colours over a dimmed photo, its own largest value at the top of the scale."""
    scaled = (255 * values / max(float(values.max()), 1e-12)).astype(np.uint8)
    colours = cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)[..., ::-1]
    return (0.35 * image + 0.65 * colours).astype(np.uint8)


def curves(path: Path, histories: dict[str, list[dict]], column: str) -> Path:
    """Figure 6: a column of several runs' history against the epoch, as a PNG."""
    figure, axes = _axes(6, 3.2)
    for name, rows in histories.items():
        points = [(int(r["epoch"]) + 1, float(r[column])) for r in rows if r.get(column)]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(column.replace("_", " "))
    _legend(axes)
    return _save(figure, path)


def bars(path: Path, scores: dict[str, dict[str, float | None]]) -> Path:
    """IoU by class of several runs, {run: {class: IoU or None}}, as a PNG."""
    names = list(dict.fromkeys(name for one in scores.values() for name in one))
    figure, axes = _axes(6, 1 + 0.28 * len(names) * max(1, len(scores) / 2))
    height = 0.8 / len(scores)
    for i, (run, values) in enumerate(scores.items()):
        axes.barh(np.arange(len(names)) + i * height, [values.get(n) or 0 for n in names],
                  height, label=run)
    axes.set_yticks(np.arange(len(names)) + 0.4 - height / 2, names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("IoU at 0.5")
    _legend(axes)
    return _save(figure, path)


def _axes(width, height):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("plots need the extra `report` (pip install 'sst-tf[report]')") from None
    figure = Figure((width, height), layout="constrained")
    return figure, figure.add_subplot()


def _legend(axes):
    """Names as they are: a dollar sign in one opens no formula."""
    for text in axes.figure.legend(fontsize=7, loc="outside upper left").get_texts():
        text.set_parse_math(False)


def _save(figure, path):
    with replacing(path) as partial:
        figure.savefig(partial, dpi=130)
    return path
