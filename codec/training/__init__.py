"""Training: data, start values, losses and loops. Nothing else in the package imports it."""
