"""Frozen encoders of speech, pictures and phonemes."""
