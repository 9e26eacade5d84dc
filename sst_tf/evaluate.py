"""`python -m sst_tf.evaluate RUN`: fixed episodes of unseen classes, written to a results file."""

import sys
from pathlib import Path

import numpy as np

from pipelines.commands import command
from pipelines.errors import DataError, UserError
from pipelines.sampler import dump_episodes, episodes_sha256
from sst_tf import config as configuration
from sst_tf import metrics, presence, rules, runs, shards, tables, ways
from sst_tf.episodes import open_data
from sst_tf.evaluation import PhotoBank, photos_of, score
from sst_tf.features import open_store


def evaluate(run, config, model, data, shots, store=None, progress=True):
    """Score a run at k shots and write `evaluations/novel_<k>shot.json`, its counts and episodes.

    The operating point is chosen on base-class episodes of photos held out from training and
    stored in the run; novel classes have no say in it.

    Returns:
        The results dictionary.
    """
    settings = config.evaluate
    if settings.ways > 1 and rules.label(settings):
        raise UserError(f"evaluate.ways {settings.ways}: not together with protocol, runs, "
                        "episode_file, scales or flip; leave them out")
    model.fusion = config.model.fusion  # changes no weight, so an evaluation may choose it
    thresholds = base_threshold(run, config, model, data, shots, store, progress)
    protocol = {
        "dataset": config.data.dataset, "split": "novel",
        "novel_classes": [data.source.classes[i - 1] for i in data.novel_ids],
        "novel": config.data.novel, "rule": config.data.rule, "shots": shots,
        "fusion": config.model.fusion, "image_size": config.data.image_size,
        "resize": config.data.resize, "seed": settings.seed, "pairs": len(data.novel),
        "select_on": config.train.select_on, **rules.facts(settings)}
    path = results_path(run, config, shots)
    if settings.ways > 1:
        scores, gauges, facts, counts = ways.evaluate(
            config, model, data, shots, thresholds, store, progress, rules.counting(settings))
        results = runs.results(run, config, {**protocol, **facts}, scores, *gauges)
        runs.write_json(path, results)
        save_counts(path.with_suffix(".npz"), counts)
        return results
    by_run = rules.test_runs(settings, data, shots)
    episodes = [episode for one in by_run for episode in one]
    scored = _score(run, config, model, data, episodes, store, progress)
    weights = metrics.photo_weights(scored.counts["tuned"], settings.resamples)
    scores = {}
    for name, counts in scored.counts.items():
        chosen = thresholds.get("tuned" if name == "oracle" else name)
        scores[name] = metrics.summary(counts, data.source.classes, chosen, weights)
        if len(by_run) > 1:
            scores[name]["runs"] = metrics.over_runs(counts, [len(one) for one in by_run], chosen)
    protocol |= {"episodes": len(episodes), "runs": len(by_run),
                 "episodes_sha256": episodes_sha256(episodes),
                 "photos": len(photos_of(episodes))}
    results = runs.results(run, config, protocol, scores, scored.support_iou,
                           {"relative_update": scored.relative_update})
    if settings.absent_episodes and not rules.label(settings):
        results["presence"] = presence_rates(run, config, model, data, shots, store)
    runs.write_json(path, results)
    save_counts(path.with_suffix(".npz"), {
        f"{name}_{label}": (counts, one) for name, counts in scored.counts.items()
        for label, one in (("half", metrics.HALF), ("chosen", thresholds.get(name)))
        if one is not None})
    dump_episodes(episodes, path.with_suffix(".jsonl"))
    return results


def _score(run, config, model, data, episodes, store, progress):
    """All answers to the episodes, by one process or several."""
    counting, processes = rules.counting(config.evaluate), config.evaluate.processes
    if processes == 1:
        return shards.score_here(run, config, model, data, episodes, counting, store, progress)
    if store is not None:  # a bank stores features: once, not once a process
        PhotoBank(data.source, episodes, config.data.image_size, store, config.data.resize,
                  counting)
    return shards.score_sharded(run, config, episodes, counting, processes)


def results_path(run, config, shots):
    """Where the results of a run at k shots go, by what is not plain about them."""
    ways = f"_{config.evaluate.ways}way" if config.evaluate.ways > 1 else ""
    return run.evaluation_path(tables.evaluation_name(shots, config.model.fusion) + ways
                               + rules.label(config.evaluate))


def base_threshold(run, config, model, data, shots, store=None, progress=True):
    """The operating point of a run at k shots, {"tuned": bin, ...}; chosen once, then read."""
    stored, key = run.thresholds(), rules.threshold_key(config, shots)
    if key in stored:
        return stored[key]
    sampler = data.sampler("validation", shots, config.evaluate.seed)
    if sampler.skipped and progress:
        print(f"threshold for {shots}-shot: {len(sampler.skipped)} base classes have fewer than "
              f"{shots + 1} held-out photos and take no part")
    episodes = sampler.take(config.evaluate.threshold_episodes)
    bank = PhotoBank(data.source, episodes, config.data.image_size, store, config.data.resize,
                     rules.counting(config.evaluate))
    scored = score(model, bank, episodes, config.evaluate.batch)
    chosen = {name: metrics.best_threshold(counts) for name, counts in scored.counts.items()}
    runs.write_json(run.thresholds_path, {**stored, key: chosen})
    return chosen


def presence_rates(run, config, model, data, shots, store=None):
    """How often a query without the class is answered: {"threshold", "base", "novel"}.

    The threshold is set on held-out base-class photos, stored in the run, and then measured on
    novel classes. A part with a single class has no episodes without it: None.
    """
    count, scores = config.evaluate.absent_episodes, {}
    for part in ("validation", "novel"):
        try:
            absent = presence.absent_episodes(
                data.sampler(part, shots, config.evaluate.seed, mismatched=True), count)
        except DataError:
            absent = []
        present = data.sampler(part, shots, config.evaluate.seed).take(count) if absent else []
        for name, episodes in (("present", present), ("absent", absent)):
            if episodes:
                bank = PhotoBank(data.source, episodes, config.data.image_size, store,
                                 config.data.resize)
                counts = score(model, bank, episodes, config.evaluate.batch).counts["tuned"]
                scores[part, name] = presence.score(counts.histogram.sum(1))
    if ("validation", "absent") not in scores:
        return None
    base = scores["validation", "present"], scores["validation", "absent"]
    found = {"threshold": presence.best_threshold(*base)}
    found["base"] = presence.rates(*base, found["threshold"])
    found["novel"] = None
    if ("novel", "absent") in scores:
        found["novel"] = presence.rates(scores["novel", "present"], scores["novel", "absent"],
                                        found["threshold"])
    if config.model.fusion == "weighted":
        runs.write_json(run.presence_path, {**run.presence(), str(shots): found})
    return found


def support_check(model, data, config, bank_store=None):
    """`Counts` of episodes whose support shows another class than the one scored."""
    episodes = data.sampler("novel", 1, config.evaluate.seed, mismatched=True).take(
        min(config.evaluate.episodes or 400, 400))
    bank = PhotoBank(data.source, episodes, config.data.image_size, bank_store,
                     config.data.resize)
    return score(model, bank, episodes, config.evaluate.batch).counts["tuned"]


def save_counts(path, counts):
    """Per-episode intersections and unions, what paired comparisons are made of.

    Args:
        counts: {name: (`Counts`, threshold bin)}.
    """
    first = counts["tuned_half"][0]
    arrays = {"class_ids": first.class_ids, "photos": np.array(first.photos)}
    for name, (one, threshold) in counts.items():
        tp, fp, fn, _ = one.at(threshold)
        arrays[name] = np.stack([tp, tp + fp + fn])
    partial = path.with_name(f"partial-{path.name}")
    np.savez_compressed(partial, **arrays)
    partial.replace(path)


def table(results):
    """Rows of a results file as aligned text."""
    head = f"{'':16}{'mIoU':>7}{'95 % interval':>17}{'chosen':>9}{'mIoU there':>12}" \
           f"{'FB-IoU':>8}{'episode':>9}{'area':>7}"
    lines = [head]
    for name, entry in results["scores"].items():
        low, high = entry.get("miou_interval", (float("nan"),) * 2)
        chosen = entry.get("threshold")
        at = f"{chosen['chosen']:9.2f}{chosen['miou_at_chosen']:12.3f}" if chosen else " " * 21
        lines.append(f"{name:16}{entry['miou']:7.3f}{f'{low:.3f} .. {high:.3f}':>17}{at}"
                     f"{entry['fb_iou']:8.3f}{entry['episode_iou']:9.3f}{entry['area_ratio']:7.2f}")
    kinds = list(results["scores"])
    for name, entry in results["scores"].items():
        if several := entry.get("runs"):
            lines.append(f"{name}: mean of {len(several['miou'])} runs {several['mean']:.3f}, "
                         f"standard deviation {several['sd']:.3f}")
    lines += ["", f"{'IoU by class':16}" + "".join(f"{k:>16}" for k in kinds) + "  episodes"]
    for name in results["scores"]["tuned"]["per_class"]:
        rows = [results["scores"][k]["per_class"][name] for k in kinds]
        lines.append(f"{name:16}" + "".join(f"{r['iou']:16.3f}" for r in rows)
                     + f"{rows[0]['episodes']:10d}")
    iou, moved = results["support_iou"], results["gauges"]["relative_update"]
    lines += ["", f"support IoU before tuning {iou['before']:.3f}, after {iou['after']:.3f}; "
                  f"relative update {moved:.4f}",
              "area: predicted over true foreground at 0.5; chosen: threshold from base classes"]
    found = results.get("presence")
    for part in ("base", "novel") if found else ():
        if rates := found[part]:
            lines.append(f"{part} photos called present (score from {found['threshold']:.2f}): "
                         f"{rates['answered_where_present']:.0%} with the class, "
                         f"{rates['answered_where_absent']:.0%} without; AUC {rates['auc']:.2f}")
    return "\n".join(lines)


@command
def main(argv=None):
    parser = configuration.parser(
        prog="python -m sst_tf.evaluate",
        description="Score a trained run on fixed episodes of unseen classes. Any key of the "
                    "run's configuration can be overridden, e.g. --evaluate.shots '[1]'.")
    parser.add_argument("run", nargs="?", help="run directory, as written by sst_tf.train")
    argv = sys.argv[1:] if argv is None else list(argv)
    folder = next((a for a in argv if Path(a).is_dir()), None)
    if folder is None and "-h" not in argv and "--help" not in argv:
        raise UserError("give a run directory: python -m sst_tf.evaluate runs/NAME")
    path = None if folder is None else str(runs.Run.open(folder).folder / "config.yaml")
    config, _ = configuration.parse(parser, argv, path)
    config = rules.under_protocol(config)
    run = runs.Run.open(folder)
    model, data = run.model(), open_data(config, progress=True)
    store = open_store(config, model, data)
    for shots in config.evaluate.shots:
        results = evaluate(run, config, model, data, shots, store)
        print(f"\n{shots}-shot, {results['protocol']['episodes']} episodes, "
              f"{results['protocol']['photos']} photos -> "
              f"{results_path(run, config, shots)}\n{table(results)}\n")


if __name__ == "__main__":
    main()
