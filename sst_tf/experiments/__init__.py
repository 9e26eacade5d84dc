"""Grids of runs behind a table."""
