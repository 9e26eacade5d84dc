# SPDX-License-Identifier: Apache-2.0
"""`sst mark-cost RUN`: what boxes, scribbles and polygons cost beside exact masks.

Marks are made from the true masks as a person might draw them; everything else stays as in
`sst evaluate`, episodes too.
"""

from jsonargparse.typing import PositiveInt

from pipelines.commands import command
from sst_tf.config import ArgumentParser
from sst_tf.evaluation.metrics import BINS
from sst_tf.runs.directory import Run


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst mark-cost", description=__doc__)
    parser.add_argument("run", help="run directory")
    parser.add_argument("--shots", type=PositiveInt, default=1)
    parser.add_argument("--episodes", type=PositiveInt, default=400)
    options = parser.parse_args(argv)
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from sst_tf.evaluation.operating_point import OperatingPoint
    from sst_tf.photos.mark_cost import costs

    run = Run.open(options.run)
    threshold = OperatingPoint(run).bins(options.shots)["tuned"]
    print(f"{options.run}: {options.shots}-shot, {options.episodes} episodes of novel classes, "
          f"threshold {threshold / BINS:.2f} of exact masks")
    print("| support marked by | IoU of its mask | mIoU | 95 % over photos | minus exact | 95 % |")
    print("|---|---|---|---|---|---|")
    for cost in costs(run, options.shots, options.episodes, threshold):
        low, high = cost.interval
        less = "" if cost.difference is None else (
            f"{cost.difference:+.3f} | {cost.difference_interval[0]:+.3f} .. "
            f"{cost.difference_interval[1]:+.3f}")
        print(f"| {cost.kind} | {cost.mask_iou:.2f} | {cost.miou:.3f} | {low:.3f} .. {high:.3f} | "
              f"{less or '|'} |", flush=True)


if __name__ == "__main__":
    main()
