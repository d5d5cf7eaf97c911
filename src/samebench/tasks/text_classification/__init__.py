"""Projects whose examples are texts: a text in, the probability of each class out."""
