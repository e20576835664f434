"""Classes of which there are too few images to be learnt or measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ...errors import TwinsError
from ..annotation_errors import FEW, a_few
from .dataset import LabelledImages


def with_classes_that_have_images(
    train: LabelledImages, val: LabelledImages | None
) -> tuple[LabelledImages, LabelledImages | None]:
    """Both parts without the classes that have no image in training: a network would only learn never to name them.

    Raises TwinsError where such a class has validation images.
    """
    counts = Counter(train.labels)
    known = tuple(name for label, name in enumerate(train.classes) if counts[label])
    if val is not None:
        for label in val.labels:
            if val.classes[label] not in known:
                raise TwinsError(
                    f"{val.name(val.labels.index(label))}: no training image of class {val.classes[label]!r}"
                )
        val = _with_classes(val, known)
    return _with_classes(train, known), val


def warning_of_single_images(train: LabelledImages, val: LabelledImages) -> tuple[str, ...]:
    """The line that names classes with one image, if there are any."""
    counts = Counter(train.labels) + Counter(val.labels)
    single = [name for label, name in enumerate(train.classes) if counts[label] == 1]
    if not single:
        return ()
    return (
        f"one image alone of {a_few(single[:FEW], len(single))}: it is trained on, so no validation image measures the "
        "class; add images, ten or more, or leave the class out",
    )


def _with_classes(images: LabelledImages, classes: tuple[str, ...]) -> LabelledImages:
    if classes == images.classes:
        return images
    label_of = {name: label for label, name in enumerate(classes)}
    return replace(images, labels=[label_of[images.classes[label]] for label in images.labels], classes=classes)
