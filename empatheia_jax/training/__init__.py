"""The four training stages: losses, steps, loop and checkpoints."""
