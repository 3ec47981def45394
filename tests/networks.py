"""Small networks with random weights, saved as their makers would, and transformers' own rows of them."""

import json
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 32, "width": 32},
    "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": MEAN, "image_std": STD,
}  # fmt: skip
CROPPER = PROCESSOR | {
    "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 36}, "resample": 3,
    "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
}  # fmt: skip


def pictures(n: int = 5, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        small = rng.integers(0, 256, (rng.integers(2, 9), rng.integers(2, 9), 3), np.uint8)
        out.append(Image.fromarray(small).resize(tuple(rng.integers(20, 200, 2)), Image.Resampling.BICUBIC))
    return out


def save_network(folder: Path, kind: str, processor: dict[str, object] = PROCESSOR) -> Path:
    """Save a small network with random weights, as its maker would, and return its folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers

        transformers.logging.disable_progress_bar()
        torch.manual_seed(0)
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        vision = sizes | {"image_size": 32, "patch_size": 8}
        if kind == "vit":
            model = transformers.ViTModel(transformers.ViTConfig(**vision))
        elif kind == "vit classifier":
            model = transformers.ViTForImageClassification(transformers.ViTConfig(**vision))
        elif kind == "dinov2":
            model = transformers.Dinov2Model(transformers.Dinov2Config(**vision))
        elif kind == "dinov3":
            model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**vision))
        elif kind == "convnext":
            config = transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 24], depths=[1, 1, 1, 1])
            model = transformers.ConvNextModel(config)
        elif kind == "mobilenet v1":
            model = transformers.MobileNetV1Model(transformers.MobileNetV1Config(depth_multiplier=0.25))
        elif kind == "mobilenet v2":
            model = transformers.MobileNetV2Model(transformers.MobileNetV2Config(depth_multiplier=0.25))
        elif kind == "vit without pooler":
            model = transformers.ViTModel(transformers.ViTConfig(**vision), add_pooling_layer=False)
        elif kind == "resnet":
            config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
            model = transformers.ResNetModel(config)
        elif kind == "clip":
            text = sizes | WORDS
            model = transformers.CLIPModel(
                transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
            )
        elif kind == "siglip":
            text = sizes | WORDS
            model = transformers.SiglipModel(
                transformers.SiglipConfig(text_config=text, vision_config=vision)
            )
        elif kind == "clip vision":
            model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**vision))
        else:
            model = transformers.BertModel(transformers.BertConfig(**sizes, vocab_size=50))
        for module in model.modules():  # a network that has learned something: no batch norm is the identity
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2)
        model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def plain_rows(folder: Path, images: list[Image.Image], kind: str) -> np.ndarray:
    """The rows as transformers' own documentation would have one compute them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers

        model = transformers.AutoModel.from_pretrained(folder).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        out = []
        with torch.inference_mode():
            for image in images:
                x = processor(image, return_tensors="pt")["pixel_values"]
                if kind in ("clip", "siglip"):
                    row = model.get_image_features(pixel_values=x)
                    row = getattr(row, "pooler_output", row)
                elif kind in ("vit classifier", "vit without pooler"):
                    row = model(pixel_values=x).last_hidden_state[:, 0]
                else:
                    row = model(pixel_values=x).pooler_output
                out.append(row.flatten(1).numpy()[0])
    rows = np.array(out)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


LETTERS = "abcdefghijklmnopqrstuvwxyz"
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = {
    "vocab_size": 2 * len(LETTERS) + 2, "max_position_embeddings": 16,
    "bos_token_id": 2 * len(LETTERS), "eos_token_id": 2 * len(LETTERS) + 1,
    "pad_token_id": 2 * len(LETTERS) + 1,
}  # fmt: skip


def add_tokenizer(folder: Path, kind: str = "CLIPTokenizer") -> Path:
    """Save a tokenizer that spells, as CLIP's own is saved, and return the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        pieces = [*LETTERS, *(f"{c}</w>" for c in LETTERS), START, END]
        transformers.CLIPTokenizer(vocab={p: i for i, p in enumerate(pieces)}, merges=[]).save_pretrained(
            folder
        )
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tokenizer_class": kind}))
    return folder


def plain_text_rows(folder: Path, texts: list[str]) -> np.ndarray:
    """The rows of texts as transformers' own documentation would have one compute them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers

        model = transformers.AutoModel.from_pretrained(folder).eval()
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        rows = []
        for text in texts:
            if model.config.model_type == "siglip":
                words = tokenizer([text.lower()], padding="max_length", max_length=16, return_tensors="pt")
                words = {"input_ids": words["input_ids"]}
            else:
                words = transformers.CLIPTokenizer.from_pretrained(folder)([text], return_tensors="pt")
            with torch.inference_mode():
                rows.append(model.get_text_features(**words).pooler_output[0].numpy())
    out = np.array(rows)
    return out / np.linalg.norm(out, axis=1, keepdims=True)
