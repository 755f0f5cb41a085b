"""Marks of origin: a watermark in the sound of a reply, and a signed statement in the finished file that it was generated."""
