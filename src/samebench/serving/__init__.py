"""The server of a model: HTTP, deadlines, limits, counts and log. Nothing in here needs torch."""
