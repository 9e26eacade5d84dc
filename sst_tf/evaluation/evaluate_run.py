# SPDX-License-Identifier: Apache-2.0
"""Fixed episodes of unseen classes, written to a results file."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import DataError, UserError
from pipelines.sampler import dump_episodes, episodes_sha256
from pipelines.sealed import write_sealed
from pipelines.sources.joined import meaning
from pipelines.writing import replacing
from sst_tf import config as configuration
from sst_tf.config import Config
from sst_tf.data.feature_store import FeatureStore
from sst_tf.data.photo_bank import open_bank, photos_of
from sst_tf.data.run_data import RunData
from sst_tf.data.scoring_options import ScoringOptions
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation import bootstrap, metrics, multiclass, parallel, presence, protocol_options
from sst_tf.evaluation.metrics import Counts
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.evaluation.scoring import score
from sst_tf.evaluation.stored import evaluation_name, protocol_sha256, read_results, results_file
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.runs.directory import Run
from sst_tf.runs.results import results_of


def evaluate(run: Run, config: Config, model: SSTSegmenter, data: RunData, shots: int,
             store: FeatureStore | None = None, progress: bool = True) -> dict:
    """Score a run at k shots and write `evaluations/novel_<k>shot.json`, its counts and episodes.

    Under another protocol than the run's own the file's name has its hash (`evaluation.stored`).

    The operating point is chosen on base-class episodes of photos held out from training and
    stored in the run; novel classes have no say in it.

    Returns:
        The results dictionary.
    Raises:
        UserError: what is there is of the same model and protocol, but of other photos.
    """
    started = time.time()
    config = configuration.resolved(config)
    settings = config.evaluate
    thresholds = base_threshold(run, config, model, data, shots, store, progress)
    protocol = {
        "dataset": config.data.dataset, "split": "novel",
        "novel_classes": [data.source.classes[i - 1] for i in data.novel_ids],
        "novel_policy": config.data.novel_policy, "pair_filter": config.data.pair_filter,
        "seen_in_training": seen_in_training(run, data), "shots": shots,
        "fusion": config.model.fusion, "image_size": config.data.image_size,
        "resize": config.data.resize, "seed": settings.seed, "pairs": len(data.novel),
        "sha256": protocol_sha256(configuration.identity(config), shots),
        "photos_sha256": data.novel_sha256(),
        "select_on": config.train.select_on, **protocol_options.facts(config)}
    path = results_path(run, config, shots)
    if path.is_file() and _of_other_photos(
            found := read_results(path), protocol["photos_sha256"]) and (
            found.get("model_sha256") == run.model_sha256()):
        raise UserError(f"{path}: results of this model on other photos than those of data.root "
                        f"{config.data.root}; move the file away to evaluate on these")
    if settings.ways > 1:
        drawn = multiclass.draw(config, data, shots)
        scores, gauges, facts, counts = multiclass.evaluate(
            config, model, data, drawn, thresholds, protocol_options.counting(config), store,
            progress)
        results = results_of(run, config, {**protocol, **facts}, scores, *gauges)
        save_counts(path.with_suffix(".npz"), counts)
        dump_episodes(drawn, path.with_suffix(".jsonl"))
        return _finish(path, results, started)
    by_run = protocol_options.test_runs(settings, data, shots)
    episodes = [episode for one in by_run for episode in one]
    scored = _score(run, config, model, data, episodes, store, progress)
    weights = bootstrap.photo_weights(scored.counts["tuned"].photos, settings.resamples)
    scores = {}
    for name, counts in scored.counts.items():
        chosen = thresholds.get("tuned" if name == "oracle" else name)
        scores[name] = metrics.summary(counts, data.source.classes, chosen, weights)
        if len(by_run) > 1:
            scores[name]["runs"] = metrics.over_runs(counts, [len(one) for one in by_run], chosen)
    protocol |= {"episodes": len(episodes), "runs": len(by_run),
                 "episodes_sha256": episodes_sha256(episodes),
                 "photos": len(photos_of(episodes))}
    results = results_of(run, config, protocol, scores, scored.support_iou,
                           {"relative_update": scored.relative_update})
    if settings.absent_episodes and not protocol_options.label(config):
        results["presence"] = presence_rates(run, config, model, data, shots, store)
    save_counts(path.with_suffix(".npz"), {
        f"{name}_{label}": (counts, one) for name, counts in scored.counts.items()
        for label, one in (("half", metrics.HALF), ("chosen", thresholds.get(name)))
        if one is not None})
    dump_episodes(episodes, path.with_suffix(".jsonl"))
    return _finish(path, results, started)


def _of_other_photos(results, ours):
    """Whether results say that their photos are others; earlier versions said nothing."""
    found = results["protocol"].get("photos_sha256")
    return found is not None and ours is not None and found != ours


def seen_in_training(run: Run, data: RunData) -> list[str]:
    """Names of the tested classes that the run's record says it was trained on, by meaning."""
    trained = {meaning(name) for name in run.trained_on()}
    return [name for name in data.class_names()["novel"] if meaning(name) in trained]


def tell_seen(run: Run, data: RunData) -> None:
    """Print which of the tested classes a run was trained on, where there are any."""
    if known := seen_in_training(run, data):
        print(f"{run.folder}: was trained on {', '.join(known)}: their scores say nothing of "
              "unseen classes", file=sys.stderr)


def _finish(path, results, started):
    """The results file comes last: where it is, what belongs to it is there too."""
    results["seconds"] = round(time.time() - started, 1)
    write_sealed(path, results)
    return results


def evaluated(run: Run, config: Config, shots: int, data: RunData) -> dict | None:
    """The results that the run's model has under a protocol on these photos, or None."""
    path = results_file(run, config, shots)
    if path is None or _of_other_photos(results := read_results(path),
                                         data.novel_sha256()):
        return None
    whole = not config.evaluate.oracle or "oracle" in results["scores"]
    return results if whole and results["model_sha256"] == run.model_sha256() else None


def _score(run, config, model, data, episodes, store, progress):
    """All answers to the episodes, by one process or several."""
    counting, processes = protocol_options.counting(config), config.evaluate.processes
    if processes == 1:
        return parallel.score_here(run, config, model, data, episodes, counting, store, progress)
    if store is not None:  # a bank stores features: once, not once a process
        open_bank(config, data.source, episodes, counting, store)
    return parallel.score_sharded(run, config, episodes, counting, processes)


def results_path(run: Run, config: Config, shots: int) -> Path:
    """Where the results of a run at k shots go: a file a protocol."""
    return run.evaluation_path(evaluation_name(run, config, shots))


def base_threshold(run: Run, config: Config, model: SSTSegmenter, data: RunData, shots: int,
                   store: FeatureStore | None = None, progress: bool = True) -> dict[str, int]:
    """The operating point of a run at k shots, {"tuned": bin, ...}; chosen once, then read.

    Of a data set whose classes are all tested, none chooses: it is the run's own.
    """
    point = OperatingPoint(run, config)
    if found := point.stored(shots):
        return found
    if data.all_tested:
        return OperatingPoint(run).bins(shots)
    sampler = data.sampler("validation", shots, evaluation_seed(config.evaluate.seed))
    if sampler.skipped and progress:
        print(f"threshold for {shots}-shot: {len(sampler.skipped)} base classes have fewer than "
              f"{shots + 1} held-out photos and take no part")
    episodes = sampler.take(config.evaluate.threshold_episodes)
    options = replace(protocol_options.counting(config), ignore_ids=data.void_in("validation"))
    bank = open_bank(config, data.source, episodes, options, store)
    scored = score(model, bank, episodes, config.evaluate.batch)
    chosen = {name: metrics.best_threshold(counts) for name, counts in scored.counts.items()}
    point.keep(shots, chosen)
    return chosen


def presence_rates(run: Run, config: Config, model: SSTSegmenter, data: RunData, shots: int,
                   store: FeatureStore | None = None) -> dict | None:
    """How often a query without the class is answered: {"score", "threshold", "base", "novel"}.

    The threshold is set on held-out base-class photos, stored in the run, and then measured on
    novel classes. A part with a single class has no episodes without it: None.
    """
    count, scores = config.evaluate.absent_episodes, {}
    fusion, second_look = config.model.answering
    seed = evaluation_seed(config.evaluate.seed)
    for part in ("validation", "novel"):
        try:
            absent = presence.absent_episodes(
                data.sampler(part, shots, seed, mismatched=True), count,
                data.lacks)
        except DataError:
            absent = []
        present = data.sampler(part, shots, seed).take(count) if absent else []
        for name, episodes in (("present", present), ("absent", absent)):
            if episodes:
                bank = open_bank(config, data.source, episodes, ScoringOptions(
                    fusion=fusion, second_look=second_look, ignore_ids=data.void_in(part)), store)
                scored = score(model, bank, episodes, config.evaluate.batch, agreement=True)
                assert scored.agreement is not None  # as asked above
                scores[part, name] = presence.score(scored.counts["tuned"].histogram.sum(1),
                                                    scored.agreement)
    if ("validation", "absent") not in scores:
        return None
    base = scores["validation", "present"], scores["validation", "absent"]
    found: dict = {"score": presence.KIND, "threshold": presence.best_threshold(*base)}
    found["base"] = presence.rates(*base, found["threshold"])
    found["novel"] = None
    if ("novel", "absent") in scores:
        found["novel"] = presence.rates(scores["novel", "present"], scores["novel", "absent"],
                                        found["threshold"])
    OperatingPoint(run, config).keep_presence(shots, found)
    return found


def base_points(run: Run, config: Config, model: SSTSegmenter, data: RunData, shots: int,
                store: FeatureStore | None = None) -> tuple[float, dict | None]:
    """Choose and store what held-out photos of base classes decide at k shots.

    All that a run without novel classes can be evaluated for.

    Returns:
        (probability from which a pixel is foreground, `presence_rates` or None).
    """
    config = configuration.resolved(config)
    chosen = base_threshold(run, config, model, data, shots, store)["tuned"] / metrics.BINS
    if not config.evaluate.absent_episodes:
        return chosen, None
    return chosen, presence_rates(run, config, model, data, shots, store)


def support_check(model: SSTSegmenter, data: RunData, config: Config,
                  bank_store: FeatureStore | None = None) -> Counts:
    """`Counts` of episodes whose support shows another class than the one scored."""
    settings = configuration.resolved(config).evaluate
    episodes = data.sampler("novel", 1, evaluation_seed(settings.seed), mismatched=True).take(
        min(settings.episodes or 400, 400))
    bank = open_bank(config, data.source, episodes, protocol_options.counting(config),
                     bank_store)
    return score(model, bank, episodes, config.evaluate.batch).counts["tuned"]


def save_counts(path: Path, counts: dict[str, tuple[Counts, int]]) -> None:
    """Per-episode intersections and unions, what paired comparisons are made of.

    Args:
        counts: {name: (`Counts`, threshold bin)}.
    """
    first = counts["tuned_half"][0]
    arrays: dict[str, Any] = {"class_ids": first.class_ids, "photos": np.array(first.photos)}
    for name, (one, threshold) in counts.items():
        tp, fp, fn, _ = one.at(threshold)
        arrays[name] = np.stack([tp, tp + fp + fn])
    with replacing(path) as partial:
        np.savez_compressed(partial, **arrays)
