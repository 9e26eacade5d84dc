# SPDX-License-Identifier: Apache-2.0
"""`python -m sst_tf.evaluate RUN`: fixed episodes of unseen classes, written to a results file."""

from pathlib import Path

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf import config as configuration
from sst_tf.data.feature_store import open_store
from sst_tf.data.run_data import open_data
from sst_tf.evaluation import protocol_options
from sst_tf.evaluation.evaluate_run import (
    evaluate,
    results_path,
)
from sst_tf.reporting.results_text import table
from sst_tf.runs.directory import Run


@command
def main(argv: list[str] | None = None) -> None:
    parser = configuration.parser(
        prog="python -m sst_tf.evaluate",
        description="Score a trained run on fixed episodes of unseen classes. Any key of the "
                    "run's configuration can be overridden, e.g. --evaluate.shots '[1]'.")
    parser.add_argument("run", nargs="?", help="run directory, as written by sst_tf.train")
    folder = configuration.positional(parser, argv, "run")
    if folder is None or not Path(folder).is_dir():
        raise UserError(f"{folder or 'RUN'}: give a run directory: python -m sst_tf.evaluate "
                        "runs/NAME")
    path = str(Run.open(folder).folder / "config.yaml")
    config, _ = configuration.parse(parser, argv, path, record=True)
    config = protocol_options.under_protocol(config)
    run = Run.open(folder)
    model, data = run.model(), open_data(config, progress=True)
    protocol_options.refuse_undrawable(config, data)
    store = open_store(config, model, data)
    for shots in config.evaluate.shots:
        results = evaluate(run, config, model, data, shots, store)
        print(f"\n{shots}-shot, {results['protocol']['episodes']} episodes, "
              f"{results['protocol']['photos']} photos -> "
              f"{results_path(run, config, shots)}\n{table(results)}\n")


if __name__ == "__main__":
    main()
