"""CARLA 0.9.16's wire: one module owns each byte layout, as a table of fields."""
