"""The pilot's server side, and all of the project that its server needs."""

from apparel.serving.garment import transform_from_dict
from samebench.serving.serving import Spec
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.serving import ImageClassificationServing


class ApparelServing(ImageClassificationServing):
    """Garments in ten categories, or any images in any."""

    def transform(self, spec: Spec) -> ImageTransform:
        """The plain one, or that for garments."""
        return transform_from_dict(spec)


SERVING = ApparelServing()
