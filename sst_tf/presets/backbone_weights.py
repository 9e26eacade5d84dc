# SPDX-License-Identifier: Apache-2.0
"""Loading a preset's backbone: the weights that it was trained on, or an error."""

from pathlib import Path

import keras
import numpy as np

from pipelines.errors import UserError
from sst_tf.model import weights as files
from sst_tf.presets.fingerprint import TOLERANCE, difference, fingerprint
from sst_tf.presets.weight_files import HELP, VARIABLE, candidates, folder, remedy


def fill(backbone: keras.Model, wanted: np.ndarray, preset: str,
         weights: str | Path | None = None) -> None:
    """Load the weights that a preset was trained on into its backbone.

    From `weights`; else from the first file in `folder()` whose name begins with the backbone's
    and which holds them; else, where Keras has them, from Keras, which downloads them once.

    Args:
        wanted: their `fingerprint`.
        preset: its name, for messages.
        weights: "imagenet" or a file.
    Raises:
        UserError: no weights, with the file that is expected and where; or other weights.
    """
    if weights is not None:
        _load(backbone, str(weights), wanted, preset)
        return
    refusal = None
    for path in candidates(backbone.name):
        try:
            _load(backbone, str(path), wanted, preset)
            return
        except UserError as error:
            refusal = refusal or error
    if refusal is not None:  # what somebody put there is told, not downloaded over
        raise refusal
    missing = f"preset {preset}: no weights of {backbone.name}: no {backbone.name}* in {folder()}"
    if backbone.name in files.APPLICATIONS:
        try:
            files.load(backbone, "imagenet")
        except UserError as error:
            reason = " ".join(str(error).removeprefix("model.weights: ").split())
            missing += f", and {reason.rpartition('; ')[0]}"
        else:
            _refuse_others(backbone, "imagenet", wanted, preset)
            return
    raise UserError(f"{missing}; {remedy(backbone.name)}, name another "
                    f"folder by {VARIABLE}, or give the file by --weights (sst train: "
                    "--model.weights; in Python weights=)")


def _load(backbone, source, wanted, preset):
    files.load(backbone, source)
    _refuse_others(backbone, source, wanted, preset)


def _refuse_others(backbone, source, wanted, preset):
    found = difference(fingerprint(backbone), wanted)
    if not found <= TOLERANCE:  # NaN neither
        what = HELP.get(backbone.name, "the backbone's own file")
        raise UserError(f"{source}: other weights than preset {preset} was trained on (they differ "
                        f"by {found:.2g} of a tensor's size, {TOLERANCE:g} is allowed); expected "
                        f"{what}")
