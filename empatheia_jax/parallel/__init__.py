"""Device meshes, logical-axis rules, and compilation for hardware that is not there."""
