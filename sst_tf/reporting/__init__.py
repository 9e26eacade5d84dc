# SPDX-License-Identifier: Apache-2.0
"""Results as tables, pictures and pages."""
