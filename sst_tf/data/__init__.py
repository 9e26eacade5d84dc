# SPDX-License-Identifier: Apache-2.0
"""What a run reads: its photos, pairs and a frozen backbone's features."""
