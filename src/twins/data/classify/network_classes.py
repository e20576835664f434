"""Labels of data as indices into a network's classes, of which the data may have some, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...class_names import numbered
from ...errors import TwinsError
from ...optional_dependencies import need
from ..annotation_errors import a_few
from .dataset import LabelledImages

IMAGENET = 1000  # classes; published networks have them in the order of their WordNet ids


def labelled_for_network(images: LabelledImages, network: Sequence[str], source: str) -> LabelledImages:
    """The images with labels as indices into the classes of a network, and these as their classes.

    Parameters
    ----------
    network:
        The names of its classes in the order of its outputs; "0", "1", "2" ... where nobody has named them.
    source:
        The data, as messages name it.

    Classes are the same where their names are. Where one side has numbers for names, both are in the same order; and
    as many unnamed classes as ImageNet has are known by their WordNet ids. Raises TwinsError for classes that the
    network does not know, or that cannot be told.
    """
    ours, theirs = images.classes, tuple(network)
    unnamed = theirs == numbered(len(theirs))
    if unnamed and len(ours) == len(theirs):
        return images
    occurring = images.classes_with_images
    if set(occurring) <= set(theirs):
        return images.relabelled(theirs, source)
    if ours == numbered(len(ours)) and len(ours) <= len(theirs):
        return replace(images, classes=theirs)
    if unnamed:
        if len(theirs) != IMAGENET or not all(map(_may_be_wordnet, occurring)):
            raise TwinsError(
                f"{source}: has {len(ours)} classes, {a_few(ours[:4], len(ours))}; the network tells {len(theirs)} "
                "apart and does not name them: pass --classes FILE with their names in its order, one a line"
            )
        theirs = tuple(need("timm.data", extra="train").ImageNetInfo("imagenet-1k").label_names())
    return images.relabelled(theirs, source)


def _may_be_wordnet(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdecimal()
