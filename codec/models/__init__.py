"""Networks only: no files, no optimiser, no bytes."""
