# SPDX-License-Identifier: Apache-2.0
"""A contestant that takes half a second without waiting for it."""

import numpy as np


def ready(folder, options, answer):
    if answer is None:
        raise ValueError("no compiler here")
    return (lambda: 0.5), np.array(answer)
