"""The method of the paper, equation by equation; knows configuration alone."""
