"""Tables between released checkpoints and our parameters, read in both directions."""
