# SPDX-License-Identifier: Apache-2.0
"""`sst bench`: what a training step costs beside the work it cannot avoid.

With `--evaluation` instead: the most memory that an evaluation of many photos takes.
"""

from jsonargparse.typing import PositiveInt

from pipelines import open_source
from pipelines.commands import command
from sst_tf.config import (
    BACKBONES,
    ArgumentParser,
    Config,
    DataConfig,
    EvaluateConfig,
    ModelConfig,
)


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst bench", description=__doc__)
    parser.add_argument("--backbone", default="resnet50", choices=BACKBONES)
    parser.add_argument("--channels", type=PositiveInt, default=256, help="C")
    parser.add_argument("--image_size", type=PositiveInt, default=321, help="side in pixels")
    parser.add_argument("--batch", type=PositiveInt, default=4, help="episodes a step")
    parser.add_argument("--repeats", type=PositiveInt, default=3, help="best of so many rounds")
    evaluation = parser.add_argument_group("evaluation")
    evaluation.add_argument("--evaluation", action="store_true", help="measure its memory")
    evaluation.add_argument("--root", help="folder in VOC layout; drawn shapes without it")
    evaluation.add_argument("--split", default="val", help="of --root")
    evaluation.add_argument("--photos", type=PositiveInt, default=1500, help="at most so many")
    evaluation.add_argument("--weights", default="none", help="of the backbone, as model.weights")
    evaluation.add_argument("--memory", type=float, default=EvaluateConfig().memory,
                            help="GB, as evaluate.memory")
    options = parser.parse_args(argv)
    # Each imports its own: TensorFlow takes seconds, which --help need not wait for.
    (_evaluation if options.evaluation else _training_step)(options)


def _evaluation(options):
    from sst_tf.evaluation.memory_cost import memory_cost

    config = Config(
        data=DataConfig(image_size=options.image_size),
        model=ModelConfig(backbone=options.backbone, weights=options.weights,
                          channels=options.channels),
        evaluate=EvaluateConfig(memory=options.memory))
    source = (open_source("voc", root=options.root) if options.root else
              open_source("shapes", image_size=options.image_size, count=options.photos))
    names = source.image_ids(options.split if options.root else "all")[:options.photos]
    cost = memory_cost(config, source, names)
    print(f"{options.backbone} at {options.image_size} pixels, {options.channels} channels, "
          f"evaluate.memory {options.memory:g} GB: {cost.photos} photos, {cost.episodes} episodes, "
          f"{cost.seconds:.0f} s; peak memory {cost.peak:.2f} GB, of which {cost.loaded:.2f} GB "
          "before the first photo")


def _training_step(options):
    from sst_tf.training.step_cost import measure

    flops, rate, best = measure(options.backbone, options.channels, options.image_size,
                                options.batch, options.repeats)
    print(f"{options.backbone} at {options.image_size} pixels, {options.channels} channels, batch "
          f"{options.batch}, cached features; FLOPs a photo: embedding "
          f"{flops.embedding / 1e9:.1f} G, head {flops.head / 1e9:.1f} G; matrix rate "
          f"{rate / 1e9:.0f} GFLOP/s")
    print(f"{'':26}{'s / episode':>12}{'floor':>8}{'times floor':>13}{'over + auxiliary':>18}")
    for mode, seconds in best.items():
        floor = flops.step(mode) / rate
        episode_seconds = seconds / options.batch
        print(f"{mode:26}{episode_seconds:12.3f}{floor:8.3f}{episode_seconds / floor:13.2f}"
              f"{seconds / best['+ auxiliary']:18.2f}")
    second = best["+ tuning, second order"] / best["+ auxiliary"]
    work = flops.step("+ tuning, second order") / flops.step("+ auxiliary")
    print(f"second-order ratio: {second:.2f}   (FLOPs: {work:.2f})")
    print(f"first-order ratio: {best['+ tuning, first order'] / best['+ auxiliary']:.2f}")


if __name__ == "__main__":
    main()
