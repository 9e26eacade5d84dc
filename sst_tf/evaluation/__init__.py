"""Scores of a trained run on fixed episodes."""
