"""Training of the base stage: transforms, prior, quantiser, filter."""
