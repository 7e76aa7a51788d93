"""From tables of measurements to numbers."""
