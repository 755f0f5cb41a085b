"""Reading and writing sound, pictures and video."""
