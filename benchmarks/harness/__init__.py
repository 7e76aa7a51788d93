"""Measuring: pictures, jobs, the table they fill."""
