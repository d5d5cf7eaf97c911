"""The server side; nothing here imports torch."""

from samebench.tasks.text_classification.serving import TextClassificationServing

SERVING = TextClassificationServing()
