"""Loops: how each block type of the YAML is bound to compiled kernels."""
