"""Metrics of the paper's tables and figures. They read replies and recordings, and know no network that made them."""
