"""DreamTalk, whole, usable alone: speech, style and portrait in, a talking face out."""
