# SPDX-License-Identifier: Apache-2.0
"""Writing a trained run as ONNX files that answer as the Keras model does, and running them."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export import model_card, replay, versions
from export.saving import DIFFERENT_MASKS
from export.trained import Trained
from pipelines.errors import UserError

if TYPE_CHECKING:
    from export.int8 import Trials

TOLERANCE = 1e-4  # of probabilities, against the Keras model
NAMES = ("segment", "tune", "segment_tuned", "segment_many")


def export(trained: Trained, output: str | Path, fixed: bool = False, episodes: int = 4,
           trials: "Trials | None" = None) -> tuple[Path, float]:
    """Write the next version under `output`.

    Args:
        fixed: photos of the run's size only.
        episodes: on which the files must answer as Keras does.
        trials: on which files with the encoder in 8 bits must score as those in float32 do, and
            are then written in their place; None leaves them as they are.
    Returns:
        Its folder, and the largest difference of the float32 files from Keras.
    """
    from export import onnx_graph  # its packages come with the extra `onnx`
    signatures = trained.signatures(fixed)
    with versions.writing(output) as version:
        files = {name: version.folder / f"{name}.onnx" for name in NAMES}
        for name, path in files.items():
            path.write_bytes(onnx_graph.convert(getattr(signatures, name),
                                     signatures.specs()[name]).SerializeToString())
        chosen, source = trained.episodes(episodes)
        worst = _compare(trained, OnnxModel(version.folder),
                         list(trained.batches(chosen, source)), fixed)
        narrow = _narrow(trials, version.folder) if trials else None
        model_card.write(trained, version.folder, "int8" if narrow else "float32", fixed, False,
                         worst, source.name, narrow)
        facts = json.loads((version.folder / model_card.SETTINGS).read_text(encoding="utf-8"))
        for path in files.values():
            onnx_graph.add_metadata(path, facts)
    return version.folder, worst


def _narrow(trials, folder):
    from export import int8
    return trials.narrow(folder, NAMES, lambda folder: OnnxModel(folder).run,
                         functools.partial(int8.every_role, shots=trials.trained.shots))


class OnnxModel:
    """The files of a version in onnxruntime, called as `export.standin.runtime.SavedModel` is.

    Args:
        folder: the version's folder, or another with a file of each name.
        providers: onnxruntime's execution providers, best first; all that are there by default.
        threads: of each session; 0 lets onnxruntime choose.
        names: of the files, without their ending.
    Raises:
        UserError: a file that is missing or damaged.
    """

    def __init__(self, folder: Path, providers: list[str] | None = None, threads: int = 0,
                 names: Sequence[str] = NAMES):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        providers, self._sessions = providers or onnxruntime.get_available_providers(), {}
        for name in names:
            path = Path(folder) / f"{name}.onnx"
            try:
                self._sessions[name] = onnxruntime.InferenceSession(str(path), options, providers)
            except Exception as error:  # onnxruntime's own have no base in common
                reason = str(error).splitlines()[0]
                raise UserError(f"{path}: not loaded by onnxruntime ({reason}); export again"
                                ) from None

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{output: array} for {input: array}."""
        session = self._sessions[signature]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))


def _compare(trained, converted, batches, fixed):
    """The largest difference of probability from Keras; UserError where it is too large."""
    trials = list(batches)
    if len(batches) > 1:  # another batch size
        trials.append({name: np.concatenate([batch[name] for batch in batches])
                       for name in batches[0]})
    if not fixed:  # another photo size: every second pixel
        trials.append({name: np.ascontiguousarray(
            value[..., ::2, ::2, :] if name.endswith("image") else value[..., ::2, ::2])
            for name, value in batches[0].items()})
    try:
        return replay.worst_of(trained, converted.run, trials, TOLERANCE, DIFFERENT_MASKS)
    except replay.Different as error:
        raise UserError(f"onnxruntime differs from the Keras model: {error}; nothing was exported"
                        ) from None
