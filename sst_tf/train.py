"""`python -m sst_tf.train [CONFIG.yaml] [--section.key value]`: train, then evaluate."""

import sys
import time
from pathlib import Path

import keras
import numpy as np

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf import config as configuration
from sst_tf import metrics, pictures, runs
from sst_tf.episodes import open_data
from sst_tf.evaluate import evaluate, support_check, table
from sst_tf.evaluation import PhotoBank, score
from sst_tf.features import FeatureStore
from sst_tf.pretrain import pretrain
from sst_tf.strategy import fit_workers, is_chief, open_strategy, share, wait_for_all

VALIDATION_SEED = 1  # apart from the evaluation's episodes


class Validation(keras.callbacks.Callback):
    """Scores base and novel episodes, keeps the best model, writes history and `last.npz`."""

    def __init__(self, run, config, data, store, state):
        super().__init__()
        self.run, self.config, self.data, self.store = run, config, data, store
        self.state = state
        self.parts = {}
        for part, split, count in (("base", "validation", config.train.validation_episodes),
                                   ("novel", "novel", config.train.novel_episodes)):
            if count:
                episodes = data.sampler(split, 1, VALIDATION_SEED).take(count)
                bank = PhotoBank(data.source, episodes, config.data.image_size, store,
                                 config.data.resize)
                self.parts[part] = (bank, episodes)

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.time()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch, "seconds": round(time.time() - self.started, 1), **logs}
        if (epoch + 1) % self.config.train.validation_every == 0 or (
                epoch + 1 == self.config.train.epochs):
            for part, (bank, episodes) in self.parts.items():
                values = self._validate(part, bank, episodes)
                row |= values
                logs |= values  # the progress bar prints them
            self._keep_best(epoch, row)
        self.run.append_history(row)
        self.state["epoch"] = epoch + 1
        self.run.save_last(self.model, self.state)

    def _validate(self, part, bank, episodes):
        scored = score(self.model, bank, episodes, self.config.evaluate.batch)
        counts = scored.counts["tuned"]
        best = metrics.best_threshold(counts)
        values = {f"{part}_miou": float(metrics.mean_iou(counts))}
        if part == "base":
            self.state["threshold"] = best
            values |= {"support_iou_before": scored.support_iou["before"],
                       "support_iou_after": scored.support_iou["after"]}
        # Both at the threshold that base classes choose: mIoU at 0.5 follows the bias as well.
        chosen = self.state.get("threshold", best)
        values[f"{part}_miou_chosen"] = float(metrics.mean_iou(counts, chosen))
        return values

    def _keep_best(self, epoch, row):
        value = row.get(f"{self.config.train.select_on}_miou_chosen")
        if value is not None and value > self.state.get("best", -1.0):
            self.state |= {"best": value, "best_epoch": epoch + 1}
            self.run.save_model(self.model)


class StopOnNaN(keras.callbacks.Callback):
    """Ends a run whose loss is not finite, with a message instead of hours of NaN."""

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise UserError(
                f"train: the loss is {logs['loss']} at step {batch} of this epoch; lower "
                "optimizer.learning_rate or tuner.step_size, or set optimizer.clip_norm 1.0. "
                "The last whole epoch is kept: change the configuration and start a new run")


def train(run, config, data, strategy, resume=False):
    """Train a run to its last epoch; returns (best model, feature store or None)."""
    chief = is_chief(strategy)
    with strategy.scope():
        model = runs.build_model(config)
        model.compile(optimizer=runs.build_optimizer(config))
        state = (run.restore_last(model) if resume else None) or {"epoch": 0}
    store = open_features(model, config, data, strategy)
    per_epoch = config.train.steps_per_epoch
    start = state["epoch"] * per_epoch * config.train.batch
    announce(config, data)
    if config.pretrain.steps and state["epoch"] == 0:
        single = runs.build_model(config)  # on one device, whatever the strategy
        losses = pretrain(single, config, data, store)
        for variable, learned in zip(model.encoder.weights, single.encoder.weights, strict=True):
            variable.assign(learned)
        share(strategy, model.encoder.weights)
        print(f"named base classes for {len(losses)} steps: loss {losses[:50].mean():.3f} at "
              f"first, {losses[-50:].mean():.3f} at last")
    if state["epoch"] < config.train.epochs:
        callbacks = [StopOnNaN()]
        if chief:
            callbacks += [Validation(run, config, data, store, state), keras.callbacks.TensorBoard(
                run.folder / "tensorboard", write_graph=False)]
        length = {"epochs": config.train.epochs, "initial_epoch": state["epoch"],
                  "steps_per_epoch": per_epoch, "callbacks": callbacks,
                  "verbose": ("auto" if sys.stdout.isatty() else 2) if chief else 0}
        if config.train.strategy == "multi_worker":
            fit_workers(model, strategy, lambda context: data.training_episodes(
                config, start, store, context), **length)
        else:
            model.fit(data.training_episodes(config, start, store), shuffle=False, **length)
    wait_for_all(strategy)  # worker 0 has written the model
    print(f"best on {config.train.select_on} classes: epoch {state.get('best_epoch')}, "
          f"mIoU {state.get('best', float('nan')):.3f}" if chief else "trained")
    return run.model(), store


def open_features(model, config, data, strategy):
    """The store of a frozen backbone's features, or None; worker 0 fills it before the others."""
    if not config.train.cache_features:
        return None
    if not is_chief(strategy):
        wait_for_all(strategy)
    store = FeatureStore(model.encoder, data.source, config.data.image_size,
                         config.train.cache_dir, config.data.resize)
    names = {p.image_id for p in data.train + data.validation}
    store.ensure(sorted(names))
    if config.train.flip:
        store.ensure(sorted(names), flipped=True)
    if is_chief(strategy):
        wait_for_all(strategy)
    return store


def announce(config, data):
    """Say what is trained on and what is left out."""
    sampler = data.sampler("train", config.train.shots, config.train.seed)
    if sampler.skipped:
        print(f"{len(sampler.skipped)} base classes have fewer than {config.train.shots + 1} "
              f"training photos and take no part: {', '.join(map(str, sampler.skipped[:20]))}")
    print(f"training on {len({p.image_id for p in data.train})} photos of base classes, "
          f"validating on {len({p.image_id for p in data.validation})} others; novel: "
          f"{', '.join(data.source.classes[i - 1] for i in data.novel_ids)}")


def report(run, config, model, data, store):
    """Evaluate, check that the support matters, draw the picture; prints as it goes."""
    for shots in config.evaluate.shots:
        results = evaluate(run, config, model, data, shots, store)
        print(f"\nunseen classes, {shots}-shot, {results['protocol']['episodes']} episodes, "
              f"{results['protocol']['photos']} photos\n{table(results)}")
        if shots == 1:
            right = results["scores"]["tuned"]["threshold"]["miou_at_chosen"]
    if 1 not in config.evaluate.shots:
        return
    if len(data.novel_ids) < 2:
        print("\nsanity: one novel class has no other to show in its place; not checked")
    else:
        check_support(run, config, model, data, store, right)
    draw(run, config, model, data)


def check_support(run, config, model, data, store, right):
    """Print and keep the IoU under supports of another class: it must collapse.

    Both at the threshold that base classes chose; at 0.5 a timid model has no IoU to lose.
    """
    counts = support_check(model, data, config, store)
    wrong = float(metrics.mean_iou(counts, run.thresholds()["1"]["tuned"]))
    print(f"\nsanity: mIoU with a support of the class scored {right:.3f}, with a support of "
          f"another class {wrong:.3f}" + ("" if wrong < 0.7 * right else
                                          "  <- the support hardly matters to this model"))
    runs.write_json(run.evaluation_path("support_check"), {"right": right, "other_class": wrong})


def draw(run, config, model, data):
    """Leave a grid of novel episodes as a picture and print its path."""
    chosen = run.thresholds()["1"]
    thresholds = {name: chosen.get(name, chosen["tuned"]) / metrics.BINS
                  for name in ("untuned", "tuned")}
    picture = pictures.episode_grid(model, data.source,
                                    data.sampler("novel", 1, config.evaluate.seed).take(8),
                                    config.data.image_size, thresholds, config.data.resize)
    print(f"picture: {pictures.save(run.folder / 'episodes.png', picture)}")


@command
def main(argv=None):
    parser = configuration.parser(
        prog="python -m sst_tf.train",
        description="Train a few-shot segmenter on base classes and evaluate it on novel ones. "
                    "Keys of the YAML file can be overridden: --tuner.steps 0.")
    parser.add_argument("config", nargs="?", help="YAML file, see configs/")
    parser.add_argument("--run_dir", help="folder of the run; default runs/<name of the file>")
    parser.add_argument("--resume", action="store_true",
                        help="go on with a run that was stopped, from its last whole epoch")
    parser.add_argument("--skip_evaluation", action="store_true",
                        help="train only; evaluate later with sst_tf.evaluate")
    argv = sys.argv[1:] if argv is None else list(argv)
    path = next((a for a in argv if a.endswith((".yaml", ".yml"))
                 and not a.startswith("-")), None)
    config, options = configuration.parse(parser, argv, path)
    if config.evaluate.protocol != "sst":
        raise UserError("evaluate.protocol: training ends with the run's own protocol; then python "
                        f"-m sst_tf.evaluate RUN --evaluate.protocol {config.evaluate.protocol}")
    folder = Path(options.run_dir or f"runs/{Path(path).stem if path else 'default'}")
    last = runs.Run(folder).last_path
    if last.is_file() and not options.resume:
        raise UserError(f"{folder}: holds a run already; --resume goes on with it, --run_dir "
                        "names another folder")
    if options.resume and last.is_file():
        refuse_changes(runs.Run(folder).config(), config, folder)
    strategy = open_strategy(config.train.strategy)
    data = open_data(config, progress=is_chief(strategy))
    if is_chief(strategy):
        run = runs.Run.create(folder, config)
        runs.write_json(run.folder / "classes.json", data.class_names())
    else:
        run = runs.Run(folder)
    started = time.time()
    model, store = train(run, config, data, strategy, options.resume)
    if not is_chief(strategy):
        return
    print(f"trained in {(time.time() - started) / 60:.1f} minutes -> {run.model_path}")
    if not options.skip_evaluation:
        report(run, config, model, data, store)


def refuse_changes(stored, config, folder):
    """A resumed run must be the same run; evaluation may differ."""
    now, then = configuration.numbers(config), configuration.numbers(stored)
    for section in now:
        for key, value in now[section].items():
            if section != "evaluate" and then[section][key] != value:
                raise UserError(f"{folder}: --resume with another {section}.{key} "
                                f"({then[section][key]!r} then, {value!r} now) would not be the "
                                "same run; use another --run_dir")


if __name__ == "__main__":
    main()
