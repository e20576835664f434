"""Labels of data as indices into a network's classes, of which the data may have some, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...checkpoints.published_names import imagenet_names, imagenet_wordnet_ids
from ...class_names import numbered
from ...errors import TwinsError
from ..annotation_errors import a_few
from .dataset import LabelledImages


def labelled_for_network(images: LabelledImages, network: Sequence[str], source: str) -> LabelledImages:
    """The images with labels as indices into the classes of a network, and these as their classes.

    Parameters
    ----------
    network:
        The names of its classes in the order of its outputs; "0", "1", "2" ... where nobody has named them.
    source:
        The data, as messages name it.

    Classes are the same where their names are. Where one side has numbers for names, both are in the same order; and
    ImageNet's classes are known by their WordNet ids as well, those of a network with as many unnamed ones too. As many
    classes as ImageNet has, none under a name of it, are taken to be in its order. Raises TwinsError for classes that
    the network does not know, or that cannot be told.
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
    if _may_be_imagenet(theirs):
        if all(map(_may_be_wordnet, occurring)):
            return replace(images.relabelled(imagenet_wordnet_ids(), source), classes=imagenet_names())
        if len(ours) == len(theirs) and not set(occurring) & set(theirs):
            return images
    if unnamed:
        raise TwinsError(
            f"{source}: has {len(ours)} classes, {a_few(ours[:4], len(ours))}; the network tells {len(theirs)} "
            "apart and does not name them: pass --classes FILE with their names in its order, one a line"
        )
    try:
        return images.relabelled(theirs, source)
    except TwinsError as error:
        if theirs != imagenet_names():
            raise
        raise TwinsError(
            f"{error}; if its classes are not ImageNet's, pass --classes FILE with their names in its order, one a line"
        ) from error


def _may_be_imagenet(network: tuple[str, ...]) -> bool:
    return len(network) == 1000 and network in (numbered(1000), imagenet_names())


def _may_be_wordnet(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdecimal()
