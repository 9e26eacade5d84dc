# SPDX-License-Identifier: Apache-2.0
"""`sst train [CONFIG.yaml] [--section.key value]`: train, then evaluate."""

import contextlib
import sys
import time
from pathlib import Path

from pipelines.commands import command
from pipelines.errors import UserError
from pipelines.writing import write_json
from sst_tf import config as configuration
from sst_tf.config import packaged
from sst_tf.evaluation.protocol_options import refuse_undrawable
from sst_tf.runs.alone import alone
from sst_tf.runs.directory import Run


@command
def main(argv: list[str] | None = None) -> None:
    parser = configuration.parser(
        prog="sst train",
        description="Train a few-shot segmenter on base classes and evaluate it on novel ones. "
                    "Keys of the YAML file can be overridden: --tuner.steps 0.")
    parser.add_argument("config", nargs="?",
                        help="YAML file, or the name of a packaged one, such as shapes_small; "
                             "without it every key has its default")
    parser.add_argument("--run_dir", help="folder of the run; default runs/<name of the file>")
    parser.add_argument("--resume", action="store_true",
                        help="go on with a run that was stopped, from its last whole epoch")
    parser.add_argument("--skip_evaluation", action="store_true",
                        help="train only; evaluate later with sst evaluate")
    argv = sys.argv[1:] if argv is None else argv
    named = configuration.before_file(parser, argv).config
    if not argv:  # asked after the parser, where shells get their completions
        raise UserError("give a configuration, such as sst train shapes_small, or "
                        "keys of one")
    path = None if named is None else packaged.find(named)
    config, options = configuration.parse(parser, argv, path)
    if config.evaluate.protocol != "sst":
        raise UserError("evaluate.protocol: training ends with the run's own protocol; then sst "
                        f"evaluate RUN --evaluate.protocol {config.evaluate.protocol}")
    configuration.check_files(config)
    folder = Path(options.run_dir or f"runs/{Path(path).stem if path else 'default'}")
    with contextlib.ExitStack() as held:
        if config.train.strategy != "multi_worker":  # its machines share the folder
            held.enter_context(alone(folder, wait=options.resume))
        _run(folder, config, options, held)


def _run(folder, config, options, held):
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from sst_tf.data.run_data import open_data
    from sst_tf.presets.start import Start
    from sst_tf.reporting.after_training import report
    from sst_tf.training.distribute import is_chief, open_strategy, refuse_uneven
    from sst_tf.training.loop import train
    from sst_tf.training.resume import (
        asked_otherwise,
        other_photos,
        refuse_changes,
        refuse_without_last,
    )

    last = Run(folder).last_path
    if last.is_file() and not options.resume:
        raise UserError(f"{folder}: holds a run already; --resume goes on with it, --run_dir "
                        "names another folder")
    if last.is_file():
        refuse_changes(Run(folder), config)
    else:
        refuse_without_last(Run(folder))
    strategy = open_strategy(config.train.strategy)
    if config.train.strategy == "multi_worker" and is_chief(strategy):
        held.enter_context(alone(folder, wait=options.resume))
    refuse_uneven(config.train.batch, strategy.num_replicas_in_sync)
    start = Start.of(config.train.init, config) if config.train.init else None
    data = open_data(config, progress=is_chief(strategy))
    photos = data.photo_facts()
    if last.is_file() and (other := other_photos(Run(folder).photos(), photos)):
        raise UserError(f"{folder}: --resume with {other} would not be the same run; data.root "
                        "names the photos that it began with, --run_dir another folder")
    if config.data.validation_share and data.train and not data.validation:
        raise UserError(f"data.validation_share {config.data.validation_share}: no photo was held "
                        "out, so nothing would choose the model and its threshold; raise it")
    if not options.skip_evaluation:
        refuse_undrawable(config, data)
    if start and not data.validation:
        start.refuse_other_answers(config)
    elif start:
        start.tell_other_photos_held_out(config)
    if is_chief(strategy):
        # A resumed run stays what it was: its record says which results are its own.
        if options.resume and last.is_file():
            run = Run(folder)
            run.resumed()
            if keys := asked_otherwise(run, config):
                print(f"{run.folder / 'config.yaml'} keeps its {', '.join(keys)}: evaluated as "
                      "asked now, in files of their own, but the run's own answers stay as they "
                      "were (edit the file to change them)", file=sys.stderr)
        else:
            run = Run.create(folder, config)
        write_json(run.folder / "classes.json", {
            **data.class_names(), **({"before": list(start.classes)} if start else {})})
        write_json(run.folder / "photos.json", {
            **photos, **({"before": start.photos} if start else {})})
    else:
        run = Run(folder)
    started = time.time()
    model, store = train(run, config, data, strategy, options.resume, start and start.weights)
    if not is_chief(strategy):
        return
    print(f"trained in {(time.time() - started) / 60:.1f} minutes -> {run.model_path}")
    if start and not data.validation:
        start.keep_points(run, config)
    if not options.skip_evaluation:
        report(run, config, model, data, store)


if __name__ == "__main__":
    main()
