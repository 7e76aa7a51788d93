"""Photographs, and what is computed from them once."""
