"""A project for the bench's own tests: small grey images in ten classes, made and not stored, and two networks."""
