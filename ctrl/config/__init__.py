"""Site configuration: YAML 1.2 to a typed, frozen model; every mistake found in one pass."""

from ctrl.config.loader import check, load, schema
from ctrl.config.problems import CODES, ConfigError, Problem

__all__ = ["CODES", "ConfigError", "Problem", "check", "load", "schema"]
