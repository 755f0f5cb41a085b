"""One checker per family of reference vectors."""
