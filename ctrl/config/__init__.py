"""Site configuration: YAML 1.2 to a typed, frozen model; every mistake found in one pass."""
