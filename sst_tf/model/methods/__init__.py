# SPDX-License-Identifier: Apache-2.0
"""Methods by name: one file each, all behind `base.Head`."""

from sst_tf.model.methods.base import Head
from sst_tf.model.methods.canet import CANet
from sst_tf.model.methods.fwb import FWB
from sst_tf.model.methods.oslsm import OSLSM
from sst_tf.model.methods.panet import PANet
from sst_tf.model.methods.sgone import SGOne
from sst_tf.model.methods.sst import SST

METHODS: dict[str, type[Head]] = {
    "sst": SST, "panet": PANet, "sgone": SGOne, "fwb": FWB, "canet": CANet, "oslsm": OSLSM}


def head_of(model: dict, balanced: bool = False) -> Head:
    """The head that the settings of a model ask for; those without a method are of SST.

    Args:
        model: "method", "channels", "dropout" and "comparator" (`config.sections.ModelConfig`).
        balanced: of the losses, see `losses.cross_entropy`.
    """
    return METHODS[model.get("method", "sst")].from_settings(model, balanced)
