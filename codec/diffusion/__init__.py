"""Diffusion as plain functions: schedules, samplers, guidance and rates; the network is an argument."""
