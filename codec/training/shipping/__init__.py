"""From checkpoints to weights files and their manifest."""
