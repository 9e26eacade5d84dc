# SPDX-License-Identifier: Apache-2.0
"""The types that an exported encoder may have, and Keras' name of each."""

ENCODERS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
