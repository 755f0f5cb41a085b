"""Empatheia (WWW 2025) in JAX and Flax: it reads, hears and sees, and answers in text, speech and a talking face."""
