"""Getting the field's data sets onto the disk: `python -m pipelines.prepare`."""
