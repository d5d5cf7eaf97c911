"""The bench itself: what makes a training repeatable, whatever project lies on it."""
