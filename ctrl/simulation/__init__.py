"""Simulation: the plants of a site as one compiled program, and what they serve to the engine."""

from ctrl.simulation.world import Connection, PlantSpec, Wiring, World, add_plants

__all__ = ["Connection", "PlantSpec", "Wiring", "World", "add_plants"]
