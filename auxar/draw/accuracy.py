"""The accuracy of classification on held-out images, whose labels are known."""

from __future__ import annotations

from auxar.draw.classification import Accuracy, Classes
from auxar.draw.image_model import ImageModel
from auxar.draw.recipe_images import load_images
from auxar.errors import UserError


def heldout_accuracy(model: ImageModel, count: int) -> Classes:
    """Classifies up to `count` held-out images of a model with labels. Images without a label are left out.

    Raises `UserError` if no held-out image has a label.
    """
    examples = load_images(model).heldout.spaced_examples(count)
    assert examples.condition is not None
    own = examples.condition.flatten()
    known = own >= 0
    if not known.any():
        raise UserError("paths: no held-out image has a label; give images to classify")
    found = model.classify(examples.image[known])
    accuracy = Accuracy.of(found.labels, own[known].long(), found.names)
    return Classes((), "exact" if found.exact else "bound", model.chain.condition_factor is not None, accuracy)
