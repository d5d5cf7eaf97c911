"""The bundle that a partner gets: image archive, list of contents, verification."""
