# SPDX-License-Identifier: Apache-2.0
"""From bytes to tensors: files, resizing, augmentation, and all of it as graph functions."""
