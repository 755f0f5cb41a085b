"""Content synchronizer and style disentangler: from the core's hidden states to the generators."""
