# SPDX-License-Identifier: Apache-2.0
"""Results files: their names, and reading them back for what they are.

A results file is of one protocol: photos, episodes, how they are counted. Its hash stands in the
file, and in the name of every file but that of the run's own protocol, so that no trial takes the
place of another evaluation, and each reader sees that it has what it asked for.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from pipelines.errors import UserError
from pipelines.sealed import read_sealed, told
from sst_tf import config as configuration
from sst_tf.config import Config
from sst_tf.evaluation import metrics
from sst_tf.evaluation.protocol_options import label
from sst_tf.runs.directory import Run

REMEDY = "remove it and evaluate again"
COUNTS = ("class_ids", "photos", "tuned_half", "tuned_chosen")  # what tables are made of
POINTS = {"half": "at 0.5", "chosen": "at the base-chosen threshold"}
SAME = ("name", "dataset", "novel_classes", "split", "shots", "ways", "image_size", "resize",
        "scoring", "void_query", "void_support", "views", "episodes_sha256", "photos_sha256")
EARLY_LACK = {"photos_sha256"}  # of these what results of early versions do not say
ASKED = {"views"}  # of these how a model is asked, by which answers stay comparable
# Of a results file without configuration: what its protocol says, and where the identity has it.
SAID = {"name": ("evaluate", "protocol"), "seed": ("evaluate", "seed"),
        "dataset": ("data", "dataset"), "image_size": ("data", "image_size"),
        "resize": ("data", "resize"), "fusion": ("model", "fusion")}


def protocol_sha256(identity: dict, shots: int) -> str:
    """Eight hex digits of all that an evaluation at k shots depends on but the model.

    The oracle is left out: it adds a row and changes no other.

    Args:
        identity: of a configuration (`sst_tf.config.identity`).
    """
    evaluate = {key: value for key, value in identity["evaluate"].items()
                if key not in ("shots", "oracle")}
    return configuration.digest({
        "data": identity["data"], "evaluate": evaluate, "shots": shots,
        **{key: identity["model"][key] for key in configuration.ANSWERING
           if key in identity["model"]}})[:8]


def evaluation_name(run: Run, config: Config, shots: int) -> str:
    """Name of the results file of a run at k shots: plain under the run's own protocol."""
    plain = f"novel_{shots}shot"
    if under_own_protocol(run, config, shots):
        return plain
    return f"{plain}{_words(config)}_{protocol_sha256(configuration.identity(config), shots)}"


def under_own_protocol(run: Run, config: Config, shots: int) -> bool:
    """Whether a configuration evaluates a run at k shots as the run's own does."""
    return not run.recorded() or (protocol_sha256(configuration.identity(config), shots)
                                  == protocol_sha256(run.asked(), shots))


def results_file(run: Run, config: Config, shots: int) -> Path | None:
    """The results of exactly this protocol, or None where there are none."""
    identity = configuration.identity(config)
    early = f"novel_{shots}shot{_words(config)}"  # as versions without the hash named it
    for name in (evaluation_name(run, config, shots), early):
        path = run.evaluation_path(name)
        if path.is_file() and made_under(read_results(path), identity, shots):
            return path
    return None


def own_results(run: Run, shots: int) -> Path | None:
    """The results of the run's own protocol and its present model, or None."""
    path = run.evaluation_path(f"novel_{shots}shot")
    if not path.is_file():
        return None
    results = read_results(path)
    mine = made_under(results, run.asked(), shots) and not run.replaced(results)
    return path if mine else None


def made_under(results: dict, identity: dict, shots: int) -> bool:
    """Whether a results file is of a protocol.

    One without a hash, of an earlier version, counts as what its configuration says, or its
    protocol where it has no configuration either.
    """
    protocol, sha256 = results["protocol"], protocol_sha256(identity, shots)
    if "sha256" in protocol:
        return protocol["sha256"] == sha256
    evaluate = identity["evaluate"]
    if (evaluate["seed"], evaluate["runs"]) != (0, 1):
        return False  # these were drawn otherwise
    if "config" in results:
        config = configuration.from_record(results["config"], "results")
        return protocol_sha256(configuration.identity(config), protocol["shots"]) == sha256
    return (protocol.get("shots", shots) == shots
            and protocol.get("episodes", evaluate["episodes"]) == evaluate["episodes"]
            and all(protocol.get(key, identity[section][name]) == identity[section][name]
                    for key, (section, name) in SAID.items()))


def _words(config):
    """What is not plain about a configuration's evaluation, for people."""
    fusion = "" if config.model.fusion == "weighted" else f"_{config.model.fusion}"
    look = f"_look{config.model.second_look:g}" if config.model.second_look else ""
    ways = f"_{config.evaluate.ways}way" if config.evaluate.ways > 1 else ""
    return fusion + look + ways + label(config)


def of_another_model(one: dict, other: dict) -> bool:
    """Whether two files say that they are of two models; early ones may not say of which."""
    hashes = {found.get("model_sha256") for found in (one, other)} - {None}
    return len(hashes) > 1


def read_results(path: Path) -> dict:
    """The content of a results file.

    Raises:
        DataError: it is not as it was written.
    """
    return read_sealed(path, REMEDY)


class Evaluation:
    """One results file with its counts.

    Args:
        folder: of the run.
        shots: k.
        name: of the file; its hash may be left out where one file has the name.
        config: of which protocol, in place of a name; without either it is the run's own.
    Raises:
        UserError: no such file, or one of another protocol.
    """

    def __init__(self, folder: str | Path, shots: int, name: str | None = None,
                 config: Config | None = None):
        run = Run(folder)
        path = (_named(run, name) if name else results_file(run, config, shots) if config
                else own_results(run, shots))
        if path is None:
            there = run.evaluation_path(f"novel_{shots}shot")
            other = there.is_file() and not name and not config
            raise UserError(f"{there}: " + (
                "of another model, or of another protocol than the run's own (episodes, seed, "
                "sizes: see its entry protocol); evaluate anew, or name the file"
                if other else "not there") + f"; sst evaluate {folder} "
                f"--evaluate.shots '[{shots}]'")
        self.name, self.results = run.folder.name, read_results(path)
        if run.replaced(self.results):
            raise UserError(f"{path}: of another model than {run.model_path} holds now; "
                            f"sst evaluate {folder}")
        counts = path.with_suffix(".npz")
        with told(counts, REMEDY), np.load(counts) as arrays:
            self.arrays = dict(arrays)
            if lacking := [name for name in COUNTS if name not in self.arrays]:
                raise ValueError(f"without {', '.join(lacking)}")
        empty = np.zeros((len(self.arrays["class_ids"]), 2, 1), np.int64)
        self.counts = metrics.Counts(empty, self.arrays["class_ids"],
                                     [tuple(row) for row in self.arrays["photos"]])

    def resampled(self, point: str, weights: np.ndarray) -> np.ndarray:
        """mIoU under bootstrap weights [R, E]."""
        inter, union = self.arrays[f"tuned_{point}"]
        return metrics.pooled_iou(inter, union, self.counts.class_ids, weights)


def refuse_unequal(evaluations: Sequence[Evaluation], but: Collection[str] = ()) -> None:
    """Results of unequal protocols are not comparable: name the difference.

    Args:
        but: of `SAME`, what may differ.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        for key in (key for key in SAME if key not in but):
            a, b = (e.results["protocol"].get(key) for e in (first, other))
            if a != b and (key not in EARLY_LACK or None not in (a, b)):
                raise UserError(f"{other.name} and {first.name} differ in {key} ({b!r}, {a!r}): "
                                "their scores cannot be compared")


def asked_otherwise(evaluations: Sequence[Evaluation]) -> list[str]:
    """Lines on what a difference may be of beside the training.

    Another fusion or second look than the first one's, and what `reservations` has to say.
    """
    first, lines = evaluations[0], []
    for other in evaluations[1:]:
        for key in configuration.ANSWERING:
            a, b = (one.results["protocol"].get(key, getattr(configuration.ModelConfig, key))
                    for one in (first, other))
            if a != b:
                lines.append(f"{other.name} answers under model.{key} {b}, {first.name} under {a}")
    return list(dict.fromkeys([*lines, *(f"{one.name} {words}" for one in evaluations
                                         for words in reservations(one.results))]))


def reservations(results: dict) -> list[str]:
    """By what the tested classes were not unseen, as ends of a sentence about the run."""
    protocol, found = results["protocol"], []
    if protocol.get("select_on") == "novel":
        found.append("had its epoch chosen on novel classes (train.select_on)")
    if seen := protocol.get("seen_in_training"):
        found.append(f"was trained on {', '.join(seen)}")
    return found


def _named(run, name):
    path = run.evaluation_path(name)
    if path.is_file():
        return path
    found = [one for one in sorted(path.parent.glob(f"{name}_*.json"))
             if re.fullmatch("_[0-9a-f]{8}", one.stem.removeprefix(name))]
    if len(found) > 1:
        raise UserError(f"{path}: which one: {', '.join(one.stem for one in found)}?")
    if not found:
        raise UserError(f"{path}: not there; sst evaluate {run.folder}")
    return found[0]
