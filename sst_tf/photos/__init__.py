# SPDX-License-Identifier: Apache-2.0
"""One's own photos: marks, tuned classes, answers."""
