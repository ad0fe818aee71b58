"""Training: mesh, optimizer, the jitted steps, the loops around them, checkpoints, metrics."""
