"""Families of projects that the bench knows how to help."""
