"""Target data sets: their copies, splits and subsamples, and the loaders that feed models with them."""
