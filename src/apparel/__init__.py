"""The project on the bench: photographs of clothes in, categories out."""
