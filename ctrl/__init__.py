"""Loopwright."""
