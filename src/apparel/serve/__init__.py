"""The server of an artifact: pictures in, categories and confidences out. Nothing in here needs torch."""
