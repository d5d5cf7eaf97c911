"""The server side; nothing here imports torch."""

from samebench.tasks.image_classification.serving import ImageClassificationServing

SERVING = ImageClassificationServing()
