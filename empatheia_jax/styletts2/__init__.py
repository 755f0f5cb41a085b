"""StyleTTS2, whole, usable alone: text and style in, speech out."""
