"""Composition: the one place that knows live from simulated, and the public Python face behind `import ctrl`."""
