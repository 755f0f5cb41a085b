"""One table per source."""
