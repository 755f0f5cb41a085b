"""A conversation: history, Chain of Empathy, and the reply in three modalities."""
