"""The server side; nothing here imports torch."""

from samebench.serving.serving import About, Spec
from samebench.tasks.text_classification.serving import TextClassificationServing


class SectionsServing(TextClassificationServing):
    """A synopsis in, its section and the probability of each out."""

    def about(self, spec: Spec) -> About:
        """The page asks for a synopsis."""
        return About(name="Debian sections", title="Which section is a package in?", hint="One line about a package.")


SERVING = SectionsServing()
