"""Everything that depends on the weights, measured again."""
