# SPDX-License-Identifier: Apache-2.0
"""Reading on other processes or machines, by tf.data service."""
