"""A conversation as data: its files, labels and prompt, and the names of its recordings. Knows no network."""
