"""Training of the networks that restore detail."""
