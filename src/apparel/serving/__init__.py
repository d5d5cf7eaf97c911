"""The pilot's server side, and all of the project that its server needs."""

from dataclasses import replace

from apparel.serving.garment import DOUBTFUL, FAINT, RESTLESS, GarmentTransform, transform_from_dict
from samebench.serving.serving import About, Spec
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.serving import ImageClassificationServing

ADVICE = {
    FAINT: "Low contrast: a plainer or more different background would help.",
    RESTLESS: "Busy background: a plain one would help.",
    DOUBTFUL: "This is probably not a garment that I know.",
}


class ApparelServing(ImageClassificationServing):
    """Garments in ten categories, or any images in any."""

    def transform(self, spec: Spec) -> ImageTransform:
        """The plain one, or that for garments."""
        return transform_from_dict(spec)

    def about(self, spec: Spec) -> About:
        """See Serving."""
        about = replace(super().about(spec), examples="garments")
        if not isinstance(self.transform(spec), GarmentTransform):
            return about
        return replace(
            about,
            name="Apparel classifier",
            summary="A garment in, its category and the confidence in it out.",
            title="Which garment is it?",
            hint="One garment on a plain background works best.",
            advice={**about.advice, **ADVICE},
        )


SERVING = ApparelServing()
