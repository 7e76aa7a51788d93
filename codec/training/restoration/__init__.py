"""Training of the semantic stage: crops, the autoencoder of what a picture lost, the networks that generate it."""
