"""The project on the bench: photographs of clothes in, categories out."""

import samebench as samebench  # first, for what it says of Ctrl-C
