# SPDX-License-Identifier: Apache-2.0
"""What travels with an exported model: a card, its configuration, its classes, a licence note."""

import datetime
from pathlib import Path
from typing import Any

import yaml

from export import guards
from export.trained import Trained
from pipelines.writing import write_json, write_text
from sst_tf import config as configuration
from sst_tf.evaluation.metrics import BINS
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.evaluation.stored import own_results, read_results
from sst_tf.runs.provenance import commit, environment

SETTINGS = "export.json"  # read by the check


def sha256(trained: Trained) -> str:
    """What a run's model file is known by."""
    return trained.run.model_sha256()


def settings(trained: Trained, encoder: str, fixed: bool, jit_compile: bool, worst: float,
             photos: str, **changed: dict[str, Any] | None) -> dict[str, Any]:
    """What a program must know of the export."""
    data = trained.config.data
    return {
        "shots": trained.shots, "threshold": trained.threshold / BINS,
        "image_size": data.image_size, "resize": data.resize, "fixed_size": fixed,
        "method": trained.model.settings["model"].get("method", "sst"),
        "channels": trained.model.settings["model"]["channels"],
        "summary_size": trained.model.head.summary_size,
        "backbone": trained.model.settings["model"]["backbone"],
        "fusion": trained.model.fusion, "second_look": trained.model.second_look,
        "tuner": trained.model.settings["tuner"],
        "encoder": encoder, "xla": jit_compile, "max_pixels": guards.MAX_PIXELS,
        "largest_difference_from_keras" + ("_before_8_bits" if encoder == "int8" else ""): worst,
        "compared_on": photos,
        "model_sha256": sha256(trained),
        "config_sha256": configuration.sha256(trained.config),
        "commit": commit(), "versions": environment()["versions"],
        **{key: value for key, value in changed.items() if value},
    }


def write(trained: Trained, folder: Path, encoder: str, fixed: bool, jit_compile: bool,
          worst: float, photos: str, int8: dict[str, Any] | None = None,
          fewer_bits: dict[str, float] | None = None) -> None:
    """Fill a SavedModel's `assets` folder, or that of ONNX files.

    Args:
        int8: what 8 bits changed, where the encoder has them.
        fewer_bits: what 16 bits changed of the answers of the run's float32.
    """
    facts = settings(trained, encoder, fixed, jit_compile, worst, photos, int8=int8,
                     fewer_bits=fewer_bits)
    write_json(folder / SETTINGS, facts)
    write_text(folder / "config.yaml", yaml.safe_dump(
        configuration.portable(trained.config), sort_keys=False))
    names = trained.class_names()
    write_text(folder / "classes.txt", "".join(
        f"{part}\t{name}\n" for part in ("base", "novel") for name in names[part]))
    write_text(folder / "LICENCE_NOTE.txt", _licence(trained))
    write_text(folder / "MODEL_CARD.md", _card(trained, facts, names, worst))


def _licence(trained):
    return (
        "The code that made this model, sst-tf, is under the Apache License 2.0.\n"
        "The weights were trained from backbone weights "
        f"({Path(trained.config.model.weights).name}) on photos of the data set "
        f"{trained.config.data.dataset!r}: the terms of both apply to what may be done with them, "
        "and to whom they may be given. Ask whoever trained it.\n")


def _card(trained, facts, names, worst):
    evaluations = sorted((trained.run.folder / "evaluations").glob("novel_*shot.json"))
    # Others may lie beside them: of a model that was trained on since, or of another fusion or
    # second look than the run has today, with which the export answers.
    rows = [_row(found) for found in map(read_results, evaluations)
            if own_results(trained.run, found["protocol"]["shots"])]
    head = "| shots | mIoU at the threshold of base classes | 95 % over photos | episodes | data |"
    table = "\n".join([head, "|---|---|---|---|---|", *rows]) if rows else "Not evaluated."
    steps = trained.model.tuner.steps
    return f"""# Few-shot segmenter, {facts['backbone']}, {trained.shots}-shot

Segments one class in a photo, given {trained.shots} photo(s) with that class marked. Made by
sst-tf ({datetime.date.today().isoformat()}, commit {facts['commit'][:12]}).
Method: {trained.model.head.paper};
{steps} gradient step(s) on the marked photo's features run inside the graph.

Photos: uint8 RGB; encoded ones are brought to {facts['image_size']} pixels ({facts['resize']}).
Masks: 0 background, 1 the class, 255 does not count. A pixel is foreground from a probability of
{facts['threshold']:.2f} on, {_whence(trained)}.

## Measured on classes it was not trained on

{table}

## Limits

Trained on {len(names['base'])} base classes, which stand in classes.txt beside the novel ones. It
always answers: a photo without the class gets a mask as well. Small objects and classes far from
the base classes are where it is worst. Encoder type {facts['encoder']}; largest difference from the
Keras model {worst:.1e} (probability{_changed(facts)}
"""


def _whence(trained):
    chosen = OperatingPoint(trained.run).known(trained.shots)
    if chosen is not None and chosen["tuned"] == trained.threshold:
        return "chosen on base classes"
    return "as whoever exported it asked for"


def _changed(facts):
    """The end of the sentence: of a model in the encoder's type, or before 8 bits."""
    if "fewer_bits" in facts:
        found = facts["fewer_bits"]
        return (f", its encoder in {facts['encoder']}, too).\nBeside the run's own float32 a "
                f"probability differs by up to {found['probability']:.1e}, and {found['mask']:.2%} "
                f"of the masks' pixels are decided otherwise ({facts['compared_on']}).")
    if "int8" not in facts:
        return ")."
    found = facts["int8"]
    low, high = found["interval"]
    return (f", before 8 bits).\nIn {found['episodes']} episodes of base classes of "
            f"{found['data']} 8 bits change mIoU by {-found['lost']:+.4f} (95 % {low:+.4f} to "
            f"{high:+.4f}), from {found['float32']:.3f}.")


def _row(results):
    protocol, score = results["protocol"], results["scores"]["tuned"]
    chosen = score.get("threshold") or {}
    low, high = chosen.get("interval", (float("nan"),) * 2)
    return (f"| {protocol['shots']} | {chosen.get('miou_at_chosen', score['miou']):.3f} | "
            f"{low:.3f} to {high:.3f} | {protocol['episodes']} | {protocol['dataset']} |")
