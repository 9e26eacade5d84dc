# SPDX-License-Identifier: Apache-2.0
"""A development server that answers as TensorFlow Serving does, over its C runtime."""
