"""Training in one process or in many."""
