"""Class activation maps: which parts of a stage's map speak for a class, a region or a detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import TwinsError, nearest
from ..heads.detection.detector import Detector
from ..heads.segmentation import Segmenter
from ..model import Stages
from ..preprocessing import Size
from .observed import as_in_evaluation, stage_index, stride_of
from .scores import classifier_score, detection_index, segmenter_score

METHODS = ("gradcam", "layercam")


@torch.enable_grad()
def grad_cam(
    model: nn.Module,
    images: Tensor | Sequence[Tensor],
    target: int | Sequence[int] | None = None,
    method: str = "gradcam",
    stage: int = -1,
    at: tuple[int, int] | None = None,
) -> Tensor | list[Tensor]:
    """Heat maps of what in each image speaks for a class: Grad-CAM or LayerCAM.

        heat = twins.grad_cam(predictor.model, predictor.transform("bird.jpg")[None])     # (1, 224, 224)

    With A_k the C channels of a stage's map, and G_k the gradient of a score w.r.t. them,

        gradcam     heat = relu(sum over k of w_k A_k), where w_k is the mean of G_k over the map
        layercam    heat = relu(sum over k of relu(G_k) A_k), so that each position goes by its own gradient

    Source: Selvaraju et al., Grad-CAM, arXiv 1610.02391, equations 1 and 2; Jiang et al., LayerCAM, IEEE TIP 2021.

    Parameters
    ----------
    model:
        A classifier, segmenter or detector of this package. It runs in evaluation mode and is left as it was; gradients
        are computed down to the stage's map alone, and no parameter's is touched.
    images:
        What the model takes: (B, in_chans, H, W) normalised floats; of a detector a list of (in_chans, H_i, W_i) floats
        in [0, 1].
    target:
        A class, from 0, for all images, or a sequence of one for each; by default what the model predicts. The score of
        a classifier is the class's logit, by default of the likeliest class. Of a segmenter it is the sum of the
        class's logits over the pixels predicted as it (Vinogradova et al., arXiv 2002.11434), by default of the class
        with most pixels. Of a detector it is the score, in [0, 1], of the best detection of the class, by default of
        the best detection of all; the proposals of a Mask R-CNN count as constants. (Where a score is 1 to the last bit
        its gradient is 0, and so is the heat.)
    method:
        "gradcam" or "layercam". The first fits the coarse last stage; the second keeps its sharpness in earlier ones.
    stage:
        The stage whose map is taken, from 0; -1 is the last. It is taken before the norm that follows the stage, if
        one does.
    at:
        (row, column), a pixel of the image. A segmenter's score is then the logit at this pixel, by default of the
        class predicted there; a detector's is that of the best detection whose box holds it.

    Returns
    -------
    (B, H, W) float32 in [0, 1], bilinear from the map's cells to the images' pixels, and divided by its largest value
    in each image; all zero where nothing speaks for the target. Of a detector a list of (H_i, W_i), each of the image
    alone, without others to pad it to.

    Raises TwinsError for a model that is none of these or is frozen; for an unknown method, stage or class; for a pixel
    outside the image; where no pixel is predicted as the class, or nothing detected.
    """
    if method not in METHODS:
        raise TwinsError(f"method must be one of {', '.join(METHODS)}, not {method!r}{nearest(method, METHODS)}")
    targets = [target] * len(images) if target is None or isinstance(target, int) else list(target)
    if len(targets) != len(images):
        raise TwinsError(f"target: {len(targets)} classes for {len(images)} images; give one, or one for each")
    if isinstance(model, Detector):
        of_images = zip(images, targets, strict=True)
        return [_of_detection(model, image, wanted, method, stage, at) for image, wanted in of_images]
    passed = CamPass(model, images, stage)
    score = segmenter_score if isinstance(model, Segmenter) else classifier_score
    return relative_to_largest(passed.heat(score(passed.outputs, targets, at), method))


class CamPass:
    """One forward pass, kept so that several scores of its `outputs` can be explained by the map of one stage.

    Raises TwinsError for a model that cannot be explained, and a stage that is not there.
    """

    def __init__(self, model: nn.Module, images: Tensor | Sequence[Tensor], stage: int = -1) -> None:
        with as_in_evaluation(model) as stages, torch.enable_grad():
            self.stage = stage_index(stages, stage)
            observed = (
                stages.patch_embeds[0].register_forward_pre_hook(self._keep_size),
                _end_of_stage(stages, self.stage).register_forward_hook(self._keep_map),
            )
            with observed[0], observed[1]:
                self.outputs: Any = model(images)

    def heat(self, score: Tensor, method: str) -> Tensor:
        """(B, H, W) float32, 0 or more, over the network's input, of a scalar that sums the images' scores."""
        (gradient_BHWC,) = torch.autograd.grad(score, self.map_BHWC, retain_graph=True)
        weights = gradient_BHWC.mean(dim=(1, 2), keepdim=True) if method == "gradcam" else gradient_BHWC.relu()
        cells = (weights * self.map_BHWC.detach()).sum(dim=3).relu()
        return _enlarged(cells.float(), stride_of(self.stage), self.size)

    def _keep_size(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.size: Size = (inputs[0].shape[1], inputs[0].shape[2])

    def _keep_map(self, module: nn.Module, inputs: Any, map_BHWC: Tensor) -> Tensor:
        """The stage's map as a leaf of the graph, for what is below it needs no gradients."""
        self.map_BHWC = map_BHWC.detach().requires_grad_()
        return self.map_BHWC


def relative_to_largest(heat: Tensor) -> Tensor:
    """(B, H, W), 0 or more -> each image divided by its largest value; zeros stay."""
    largest = heat.amax(dim=(1, 2), keepdim=True)
    return heat / largest.clamp(min=torch.finfo(heat.dtype).tiny)


def resized_to_image(heat: Tensor, model: Detector, size: Size) -> Tensor:
    """(1, H, W) over a detector's input -> (1, *size) over the one image as it came, without what pads the input."""
    height, width = model.transform.resized_size(size)
    return F.interpolate(heat[None, :, :height, :width], size=size, mode="bilinear", align_corners=False)[0]


def _of_detection(
    model: Detector, image: Tensor, target: int | None, method: str, stage: int, at: tuple[int, int] | None
) -> Tensor:
    """(H, W) in [0, 1] for the best detection of an image."""
    passed = CamPass(model, [image], stage)
    detections = passed.outputs[0]
    score = detections["scores"][detection_index(detections, target, at)]
    size = (image.shape[1], image.shape[2])
    return relative_to_largest(resized_to_image(passed.heat(score, method), model, size))[0]


def _end_of_stage(stages: Stages, stage: int) -> nn.Module:
    """The module whose output is the stage's map before its norm: its last block, or the PEG behind its only one."""
    blocks = stages.blocks[stage]
    assert isinstance(blocks, nn.ModuleList)
    return blocks[-1] if len(blocks) > 1 else stages.pos_block[stage]


def _enlarged(cells: Tensor, stride: int, size: Size) -> Tensor:
    """(B, h, w) -> (B, *size): bilinear between the centres of cells of `stride` pixels.

    Pixels that were left over at the bottom and the right are as those beside them.
    """
    covered = [side * stride for side in cells.shape[1:]]
    heat = F.interpolate(cells[:, None], size=covered, mode="bilinear", align_corners=False)
    left_over = (0, max(size[1] - covered[1], 0), 0, max(size[0] - covered[0], 0))
    return F.pad(heat, left_over, mode="replicate")[:, 0, : size[0], : size[1]]
