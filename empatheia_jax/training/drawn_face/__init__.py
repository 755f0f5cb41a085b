"""Trains and judges the small DreamTalk of the drawn face (`dreamtalk.drawn_face` draws it; `dreamtalk` runs it)."""
