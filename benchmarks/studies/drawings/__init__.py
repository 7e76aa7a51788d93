"""What drawings cost, with and without loss."""
