"""Care for people in distress: what is checked before and after a reply, what is said then, and what users are told."""
