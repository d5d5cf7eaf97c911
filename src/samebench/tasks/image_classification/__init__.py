"""Images in, one of several classes out."""
