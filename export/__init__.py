"""Trained segmenters as served graphs, the tuning step inside."""
