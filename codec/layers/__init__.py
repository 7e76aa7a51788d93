"""Torch blocks that know nothing of the codec."""
