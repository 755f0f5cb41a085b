"""A thin server above `dialogue`: a page for browsers, an interface as OpenAI's, and what keeps both safe to leave running."""
