"""See samebench.serving.serving."""

from samebench.tasks.image_classification.serving import ImageClassificationServing

SERVING = ImageClassificationServing()
