# SPDX-License-Identifier: Apache-2.0
"""`sst presets`: the trained models that come with the package.

Scores are of the same recipe on the four folds of PASCAL-5i with their classes left out, mean IoU
at the threshold that base classes chose. Whole cards: sst_tf/presets/NAME.md.
"""

import json
from typing import Any

from pipelines.commands import command
from sst_tf.config import ArgumentParser
from sst_tf.presets import weight_files
from sst_tf.presets.preset import Preset, presets


def facts_of(name: str) -> dict[str, Any]:
    """What the list tells of a preset: {"name", "backbone", "image_size", "megabytes", "miou":
    {shots: mean over folds}, "weights": files found, or []}.
    """
    preset = Preset.load(name)
    config, folds = preset.config(), preset.facts["scores"]["folds"]
    return {"name": name, "backbone": config.model.backbone, "image_size": config.data.image_size,
            "megabytes": round(len(preset.data) / 1e6, 2),
            "miou": {shots: one["mean"] for shots, one in folds["shots"].items()} if folds else {},
            "weights": [str(path) for path in weight_files.candidates(config.model.backbone)]}


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst presets", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON in the place of a table")
    options = parser.parse_args(argv)
    rows = [facts_of(name) for name in presets()]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print("This version comes with none; sst preset makes one of a run.")
        return
    print(f"{'name':16} {'backbone':10} {'pixels':>6} {'MB':>5}  mIoU on unseen classes")
    for row in rows:
        scores = ", ".join(f"{shots}-shot {mean:.3f}" for shots, mean in row["miou"].items())
        print(f"{row['name']:16} {row['backbone']:10} {row['image_size']:>6} "
              f"{row['megabytes']:>5}  {scores or 'not measured'}")
    for backbone in sorted({row["backbone"] for row in rows if not row["weights"]}):
        print(f"Weights of {backbone}: none in {weight_files.folder()}; "
              f"{weight_files.advice(backbone)}")


if __name__ == "__main__":
    main()
