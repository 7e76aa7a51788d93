"""Bytes only: the file container, the integer tables and the entropy coder. Never imports torch."""
