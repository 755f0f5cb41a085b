"""Small layers shared by all networks, and the one attention function."""
