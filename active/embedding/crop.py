"""Pictures made ready for a pretrained network in one step of PIL: the pixels transformers would give."""

from typing import Any

import numpy as np
from PIL import Image

from active.embedding.encoder import Prepared


class Crop:
    """Resize and crop in one step of PIL: the pixels that the processor of transformers would give.

    scale, shift  (3, 1, 1): pixel * scale - shift is the network's input.
    """

    def __init__(self, processor: Any) -> None:  # Any: transformers has no types
        import torch

        self.size, self.crop = processor.size, processor.crop_size if processor.do_center_crop else None
        self.resample = Image.Resampling(int(processor.resample))
        factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
        mean = torch.tensor(processor.image_mean if processor.do_normalize else [0.0]).reshape(-1, 1, 1)
        std = torch.tensor(processor.image_std if processor.do_normalize else [1.0]).reshape(-1, 1, 1)
        self.scale, self.shift = factor / std, mean / std
        self.size_px = int(self.size.shortest_edge or min(self.size.height, self.size.width))

    def __call__(self, image: Image.Image) -> Prepared:
        width, height = image.size
        if self.size.shortest_edge:
            w = self.size.shortest_edge if width <= height else int(self.size.shortest_edge * width / height)
            h = self.size.shortest_edge if height < width else int(self.size.shortest_edge * height / width)
        else:
            w, h = self.size.width, self.size.height
        to_w, to_h = (self.crop.width, self.crop.height) if self.crop else (w, h)
        left, top = (w - to_w) // 2, (h - to_h) // 2
        box = (left * width / w, top * height / h, (left + to_w) * width / w, (top + to_h) * height / h)
        return np.asarray(image.resize((to_w, to_h), self.resample, box=box))


def crop_plan(processor: Any) -> Crop | None:  # Any: transformers has no types
    """Return a Crop that gives the processor's pixels, None when the processor does more than that."""
    try:
        plan = Crop(processor)
        for image in samples():
            given = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
            mine = plan(image).transpose(2, 0, 1) * plan.scale.numpy() - plan.shift.numpy()
            step = float(plan.scale.abs().max())  # of one grey level
            if mine.shape != given.shape or np.abs(mine - given).max() > 1.5 * step:
                return None
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None
    return plan


def samples() -> list[Image.Image]:
    """Return noise in three shapes, to compare two ways of computing the same."""
    rng = np.random.default_rng(0)
    shapes = ((150, 150), (97, 131), (300, 211))
    return [Image.fromarray(rng.integers(0, 256, (*s, 3), np.uint8)) for s in shapes]
