"""Compiled plants."""
