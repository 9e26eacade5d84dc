# SPDX-License-Identifier: Apache-2.0
"""The types that an exported encoder may have, and Keras' name of each."""

from argparse import ArgumentParser

from jsonargparse.typing import PositiveInt

ENCODERS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def add_int8_options(parser: ArgumentParser) -> None:
    """Let a parser take --encoder, of ONNX files, and what 8 bits need."""
    parser.add_argument("--encoder", default="float32", choices=["float32", "int8"],
                        help="type of the encoder; the tuning step stays in float32")
    parser.add_argument("--data_root", help="folder of the data set that the run was trained on, "
                                            "where it is not where the run had it, or the model "
                                            "is a preset; what was joined to it is left out")
    parser.add_argument("--trials", type=PositiveInt, default=1000,
                        help="of int8: episodes of base classes on which it must score as float32")
