# SPDX-License-Identifier: Apache-2.0
"""`sst evaluate RUN`: fixed episodes of unseen classes, written to a results file.

With `--protocols` under several papers' protocols, each with a file of its own, and one table.
"""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

from pipelines.commands import command
from pipelines.errors import UserError
from pipelines.protocols import PROTOCOLS
from sst_tf import config as configuration
from sst_tf.evaluation import protocol_options
from sst_tf.presets.options import PRESET, WEIGHTS, check_model_options
from sst_tf.reporting.results_text import protocols_table, table
from sst_tf.runs.directory import Run

# Keys of these make a model, but for where its weights and its photos' features lie.
MADE_BY = ("model", "loss", "tuner", "optimizer", "pretrain", "train")
ELSEWHERE = (("model", "weights"), ("train", "cache_features"))


@command
def main(argv: list[str] | None = None) -> None:
    parser = configuration.parser(
        prog="sst evaluate",
        description="Score a trained run on fixed episodes of unseen classes. Keys of the run's "
                    "configuration can be overridden, e.g. --evaluate.shots '[1]', but those that "
                    "made the model.")
    parser.add_argument("run", nargs="?", help="run directory, as sst train writes it")
    parser.add_argument("--preset", help=f"in the place of a run: {PRESET}; its results go under "
                                         "runs/")
    parser.add_argument("--weights", help=WEIGHTS)
    parser.add_argument("--protocols", nargs="+", choices=[protocol_options.OWN, *PROTOCOLS],
                        help="under each of these, and a table of all; what the model has been "
                             "scored under before is read from its file")
    parser.add_argument("--lists", help="hsnet's published lists of pairs: their folder, in which "
                                        "data.fold chooses, or one list")
    parser.add_argument("--json", action="store_true",
                        help="print what the results files hold, as one JSON list, and no table")
    parser.add_argument("--again", action="store_true",
                        help="with --protocols: score anew what is there already")
    argv = sys.argv[1:] if argv is None else argv
    run = _run(configuration.before_file(parser, argv))
    config, options = _parsed(parser, argv, run)
    _refuse_another_model(run, config)
    if so_far := run.unfinished():
        print(f"{run.folder}: not trained to its end, {so_far} (sst train ... --resume goes on)",
              file=sys.stderr)
    # What is told on the way is no JSON.
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        found = _results(run, config, options, parser, argv)
    if options.json:
        print(json.dumps(found))
    elif options.protocols and found:
        print(f"\n{protocols_table(found)}")


def _results(run, config, options, parser, argv):
    """Results of the run under each protocol, told as they come."""
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from sst_tf.data.feature_store import open_store
    from sst_tf.data.run_data import open_data
    from sst_tf.evaluation.evaluate_run import (
        evaluate,
        evaluated,
        results_path,
        tell_seen,
    )
    from sst_tf.reporting.after_training import choose_points

    if options.again and not options.protocols:
        raise UserError("--again: scores anew what --protocols would read; name them, or leave it "
                        "out: without them everything is scored anew")
    jobs, names = [], options.protocols or [config.evaluate.protocol]
    if options.lists and not any(map(protocol_options.needs_list, names)):
        raise UserError(f"--lists {options.lists}: {', '.join(names)} draws from no published "
                        "list, hsnet does")
    for name in dict.fromkeys(names):
        one = _under(name, parser, argv, run)
        _refuse_other_photos_held_out(run, one)
        data = open_data(one, progress=True)
        protocol_options.refuse_undrawable(one, data, trained=True)
        tell_seen(run, data)
        jobs.append((one, data))
    model, found = run.model(), []
    for config, data in jobs:
        store = None
        if not data.novel_ids:
            choose_points(run, config, model, data, open_store(config, model, data))
            continue
        for shots in config.evaluate.shots:
            results = evaluated(run, config, shots, data) if options.protocols else None
            words = "there already:"
            if results is None or options.again:
                store = store or open_store(config, model, data)
                results, words = evaluate(run, config, model, data, shots, store), "->"
            protocol = results["protocol"]
            print(f"\n{protocol['name']}, {shots}-shot, {protocol['episodes']} episodes, "
                  f"{protocol['photos']} photos {words} {results_path(run, config, shots)}")
            if not options.protocols:
                print(f"{table(results)}\n")
            found.append(results)
    return found


def _refuse_another_model(run, config):
    """A trained model follows no key that made it; a score must not be told as if it did."""
    recorded = run.config()
    then = configuration.identity(recorded)
    for section, key, was, value in configuration.trained_otherwise(then, config):
        # What a run began as (train.init) may have changed since; it is in its weights.
        same = getattr(getattr(recorded, section), key) == getattr(getattr(config, section), key)
        if section in MADE_BY and (section, key) not in ELSEWHERE and not same:
            raise UserError(f"--{section}.{key} {value}: the run was trained with {was}, and its "
                            "model stays so; leave the option out, or train another run")


def _refuse_other_photos_held_out(run, config):
    trained = run.config().data
    if config.data.dataset != trained.dataset:
        return
    for key in configuration.HELD_OUT:
        was, wanted = getattr(trained, key), getattr(config.data, key)
        if wanted != was:
            raise UserError(f"--data.{key} {wanted}: the run was trained with {was}; photos that "
                            "it was trained on would choose its threshold; leave the option out")


def _run(options):
    check_model_options(options)
    if options.preset and options.run:
        raise UserError(f"{options.run}, --preset {options.preset}: expected one of the two")
    if options.preset:
        from sst_tf.presets.as_run import preset_run

        return preset_run(options.preset, options.weights)
    if options.run is None:
        raise UserError("give a run directory: sst evaluate runs/NAME")
    if not Path(options.run).is_dir():
        raise UserError(f"{options.run}: no such run directory; train one with sst train")
    return Run.open(options.run)


def _parsed(parser, argv, run):
    return configuration.parse(parser, argv, str(run.folder / "config.yaml"), record=True)


def _under(name, parser, argv, run):
    """The configuration under a protocol, with its list of pairs where it has one."""
    config, options = _parsed(parser, argv, run)
    if options.protocols:
        for word in argv:
            if word.startswith("--evaluate.protocol"):
                raise UserError(f"{word}: not together with --protocols, which names them all")
        # As if it stood in the command line: the run's number of episodes is its own protocol's.
        config, _ = _parsed(parser, [*argv, "--evaluate.protocol", name], run)
    if options.lists and protocol_options.needs_list(name):
        config = replace(config, evaluate=replace(
            config.evaluate, pair_list=protocol_options.published_list(options.lists, config.data)))
    return protocol_options.under_protocol(config)


if __name__ == "__main__":
    main()
