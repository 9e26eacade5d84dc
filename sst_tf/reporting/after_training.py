# SPDX-License-Identifier: Apache-2.0
"""What training prints at its end: tables of unseen classes, the support check, a picture."""

import numpy as np

from pipelines.writing import write_json
from sst_tf.config import Config
from sst_tf.data.feature_store import FeatureStore
from sst_tf.data.run_data import RunData
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation import metrics, protocol_options
from sst_tf.evaluation.evaluate_run import base_points, evaluate, support_check, tell_seen
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.evaluation.stored import Evaluation, under_own_protocol
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.reporting import drawing
from sst_tf.reporting.figures import Painter
from sst_tf.reporting.results_text import points_text, table
from sst_tf.runs.directory import Run


def report(run: Run, config: Config, model: SSTSegmenter, data: RunData,
           store: FeatureStore | None) -> None:
    """Evaluate, check that the support matters, draw the picture; prints as it goes.

    Of a run without novel classes: `choose_points`.
    """
    if not data.novel_ids:
        choose_points(run, config, model, data, store)
        return
    tell_seen(run, data)
    for shots in config.evaluate.shots:
        results = evaluate(run, config, model, data, shots, store)
        print(f"\nunseen classes, {shots}-shot, {results['protocol']['episodes']} episodes, "
              f"{results['protocol']['photos']} photos\n{table(results)}")
    if 1 not in config.evaluate.shots:
        print("\nsanity: a support of another class is shown in 1-shot episodes, which "
              "evaluate.shots lacks; not checked")
    elif len(data.novel_ids) < 2:
        print("\nsanity: one novel class has no other to show in its place; not checked")
    elif config.evaluate.ways > 1:
        print("\nsanity: a support of another class is shown in episodes of one way; not checked")
    elif config.evaluate.episode_file or config.evaluate.protocol != protocol_options.OWN:
        print("\nsanity: a support of another class is shown in the own protocol's episodes; not "
              "checked")
    else:
        check_support(run, config, model, data, store)
    draw(run, config, model, data)


def choose_points(run: Run, config: Config, model: SSTSegmenter, data: RunData,
                  store: FeatureStore | None) -> None:
    """Choose the operating points of a run without novel classes; print and keep them."""
    for shots in config.evaluate.shots:
        print(f"\n{points_text(shots, *base_points(run, config, model, data, shots, store))}")
    print("\nnothing unseen was tested: data.novel_classes [] trains on all classes")


def check_support(run: Run, config: Config, model: SSTSegmenter, data: RunData,
                  store: FeatureStore | None) -> None:
    """Print the IoU under supports of another class: it must collapse.

    Kept under the run's own protocol, so that no trial takes its place.

    Of the same queries under both, at the threshold that base classes chose; at 0.5 a timid model
    has no IoU to lose.
    """
    counts = support_check(model, data, config, store)
    wrong = float(metrics.mean_iou(counts, OperatingPoint(run, config).bins(1)["tuned"]))
    scored = Evaluation(run.folder, 1, config=config)
    first = np.arange(len(scored.counts.class_ids)) < len(counts.class_ids)
    right = float(scored.resampled("chosen", first[None])[0])
    print(f"\nsanity: mIoU with a support of the class scored {right:.3f}, with a support of "
          f"another class {wrong:.3f}" + ("" if wrong < 0.7 * right else
                                          "  <- the support hardly matters to this model"))
    if under_own_protocol(run, config, 1):
        write_json(run.evaluation_path("support_check"), {
            "right": right, "other_class": wrong, "episodes": len(counts.class_ids),
            "model_sha256": run.model_sha256()})


def draw(run: Run, config: Config, model: SSTSegmenter, data: RunData) -> None:
    """Leave a grid of novel episodes as a picture and print its path."""
    episodes = data.sampler("novel", 1, evaluation_seed(config.evaluate.seed)).take(8)
    painter = Painter(run, config, model, data, point=OperatingPoint(run, config))
    print(f"picture: {drawing.save(run.folder / 'episodes.png', painter.tuning(episodes))}")
