"""The colours of every picture."""

# Okabe and Ito, Color Universal Design (2008): told apart with every kind of colour vision.
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"
INK, FAINT = "#333333", "#DDDDDD"
