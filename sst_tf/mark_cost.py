# SPDX-License-Identifier: Apache-2.0
"""`python -m sst_tf.mark_cost RUN`: what boxes, scribbles and polygons cost beside exact masks.

Marks are made from the true masks as a person might draw them; everything else stays as in
`sst_tf.evaluate`, episodes too.
"""

import numpy as np

from pipelines.commands import command
from sst_tf.config import ArgumentParser
from sst_tf.data.feature_store import open_store
from sst_tf.data.photo_bank import PhotoBank
from sst_tf.data.run_data import open_data
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation import bootstrap, metrics
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.evaluation.scoring import score
from sst_tf.photos.mark_cost import KINDS, MarkedBank
from sst_tf.runs.directory import Run


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="python -m sst_tf.mark_cost", description=__doc__)
    parser.add_argument("run", help="run directory")
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=400)
    options = parser.parse_args(argv)
    run = Run.open(options.run)
    config, model = run.config(), run.model()
    data = open_data(config, progress=True)
    store = open_store(config, model, data)
    episodes = data.sampler("novel", options.shots, evaluation_seed(config.evaluate.seed)
                            ).take(options.episodes)
    known = OperatingPoint(run).bins(options.shots)["tuned"]
    print(f"{options.run}: {options.shots}-shot, {len(episodes)} episodes of novel classes, "
          f"threshold {known / metrics.BINS:.2f} of exact masks")
    print("| support marked by | IoU of its mask | mIoU | 95 % over photos | minus exact | 95 % |")
    print("|---|---|---|---|---|---|")
    exact = None
    for kind, make in KINDS.items():
        arguments = (data.source, episodes, config.data.image_size, store, config.data.resize)
        bank = MarkedBank(make, *arguments) if make else PhotoBank(*arguments)
        counts = score(model, bank, episodes, config.evaluate.batch).counts["tuned"]
        weights = bootstrap.photo_weights(counts.photos, config.evaluate.resamples)
        at, spread = metrics.mean_iou(counts, known), metrics.mean_iou(counts, known, weights)
        exact = exact or (at, spread)
        own = f"{np.mean(list(bank.iou.values())):.2f}" if isinstance(bank, MarkedBank) else "1"
        texts = [own, f"{at:.3f}",
                 "{:.3f} .. {:.3f}".format(*bootstrap.interval(spread))]
        texts += [f"{at - exact[0]:+.3f}", "{:+.3f} .. {:+.3f}".format(
            *bootstrap.interval(spread - exact[1]))] if make else ["", ""]
        print(f"| {kind} | " + " | ".join(texts) + " |", flush=True)


if __name__ == "__main__":
    main()
