"""Validation numbers and the preview, on faces that are never trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste.pictures import write_png
from livepaste_train.augment import Geometry, sample
from livepaste_train.compiling import compiled, kept
from livepaste_train.data import Faces
from livepaste_train.export import eight_bits
from livepaste_train.models.autoencoder import PERSONA, WEARER
from livepaste_train.ops import JAX_OPS

COLUMNS = 6
CHUNK, ENCODED = 16, 64  # faces at once: one program, however many there are
_STILL = np.array([[[1.0, 0, 0], [0, 1.0, 0]]], np.float32)


def undistorted(packed: np.ndarray | jax.Array, geometry: Geometry) -> tuple[jax.Array, jax.Array]:
    """Packed faces as the model's crops without augmentation: pictures (n, s, s, 3) and masks (n, s, s, 1)."""
    parts = [np.asarray(packed[i : i + CHUNK]) for i in range(0, len(packed), CHUNK)]
    sampled = _sampler(geometry)
    made = [np.asarray(sampled(np.resize(part, (CHUNK, *part.shape[1:]))))[: len(part)] for part in parts]
    pictures = jnp.asarray(np.concatenate(made))
    return pictures[..., :3], pictures[..., 3:]


@kept
def _sampler(geometry: Geometry) -> Callable[[np.ndarray], jax.Array]:
    def sampled(packed: jax.Array) -> jax.Array:
        return sample(packed, jnp.arange(CHUNK), jnp.repeat(_STILL, CHUNK, 0), geometry)

    return compiled(sampled)


def spread(size: int, count: int) -> np.ndarray:
    """Up to ``count`` indices at equal distances over ``size``."""
    return np.linspace(0, size - 1, min(count, size)).round().astype(int)


def crops(faces: Faces, geometry: Geometry, count: int) -> tuple[jax.Array, jax.Array]:
    """``count`` undistorted faces spread over the set."""
    return undistorted(faces.packed[spread(len(faces), count)], geometry)


Crops = tuple[jax.Array, jax.Array]  # pictures (n, s, s, 3) and masks (n, s, s, 1)


def codes_of(graph: Any, params: Any, pictures: jax.Array) -> np.ndarray:
    """Codes (n, code) of crops (n, s, s, 3)."""
    encode = _encoder(graph)
    parts = [np.asarray(pictures[i : i + ENCODED]) for i in range(0, len(pictures), ENCODED)]
    # copies of a face make the last part as long: one program for all
    filled = [np.resize(part, (ENCODED, *part.shape[1:])) for part in parts]
    codes = [np.asarray(encode(params, whole))[: len(part)] for part, whole in zip(parts, filled, strict=True)]
    return np.concatenate(codes)


@kept
def _encoder(graph: Any) -> Callable[[Any, np.ndarray], jax.Array]:
    return compiled(lambda params, shown: nnx.merge(graph, params).encode(shown))


def means(pictures: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean picture (s, s, 3), mean mask (s, s, 1) and mean colour under the masks (3,) of crops."""
    return _means()(pictures, masks)


@kept
def _means() -> Callable[..., tuple[jax.Array, jax.Array, jax.Array]]:
    return compiled(
        lambda pictures, masks: (pictures.mean(0), masks.mean(0), JAX_OPS.tone_under(pictures, masks).mean((0, 1, 2)))
    )


def psnr_db(made: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Mean over pictures (n, s, s, 3) in [0, 1] of the PSNR under ``mask`` (n, s, s, 1), dB; those without a face under it left out."""
    seen = mask.sum((1, 2, 3)) > 0
    if not seen.any():
        return 0.0
    error = (np.square(made - truth) * mask).sum((1, 2, 3))[seen] / (3 * mask.sum((1, 2, 3))[seen])
    return float(-10 * np.log10(np.maximum(error, 1e-10)).mean())


def mask_iou(made: np.ndarray, truth: np.ndarray) -> float:
    """Mean over masks (n, s, s, 1) of the intersection over union at 0.5."""
    a, b = made > 0.5, truth > 0.5
    return float(((a & b).sum((1, 2, 3)) / np.maximum((a | b).sum((1, 2, 3)), 1)).mean())


@kept
def _runner(graph: Any, wearer_picture: bool) -> Callable[..., dict[str, jax.Array]]:
    def run(params: Any, shown: jax.Array, worn: jax.Array) -> dict[str, jax.Array]:
        model = nnx.merge(graph, params)
        code = model.encode(shown)
        swapped = model.swap(worn)
        mask = model.mask(PERSONA, code)
        drawn = {PERSONA: model.again(PERSONA, code, shown, mask)}
        if wearer_picture:
            drawn[WEARER] = model.again(WEARER, swapped["code"], worn, swapped["wearer_mask"])
        return {
            **drawn,
            "persona_mask": mask,
            "wearer_mask": swapped["wearer_mask"],
            "swapped": swapped["image"],
            "swapped_mask": swapped["persona_mask"],
        }

    return compiled(run)


class Validator:
    """Holds the held-out faces on the device and the compiled forward pass."""

    def __init__(self, graph: Any, persona: Faces, wearer: Faces, geometry: Geometry, count: int = 48, *,
                 wearer_picture: bool = True) -> None:  # fmt: skip
        """``wearer_picture``: whether the wearer's is learned, and so measured."""
        self.persona, (worn, worn_mask) = (crops(faces, geometry, count) for faces in (persona, wearer))
        self.wearer = eight_bits(worn), worn_mask  # the first goes into the export as a PNG, with what is made of it

        self._run = _runner(graph, wearer_picture)

    def run(self, params: Any) -> dict[str, np.ndarray]:
        """Pictures and masks of the held-out faces."""
        with jax.default_matmul_precision("highest"):  # the export is compared with this
            made = self._run(params, self.persona[0], self.wearer[0])
        return {name: np.asarray(value) for name, value in made.items()}

    def first(self, made: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The wearer's first crop (s, s, 3) in steps of 1/255, and the swap of it as :func:`~livepaste_train.export.export` wants it."""
        names = {"image": "swapped", "persona_mask": "swapped_mask", "wearer_mask": "wearer_mask"}
        return np.asarray(self.wearer[0][0]), {name: made[key][:1] for name, key in names.items()}

    def measure(self, made: dict[str, np.ndarray]) -> dict[str, float]:
        """Reconstruction PSNR (dB) under the visible face, where it is learned, and intersection over union of the mask, for both sides."""
        out = {}
        for side, (picture, mask) in (("persona", self.persona), ("wearer", self.wearer)):
            if side in made:
                out[f"{side}_psnr_db"] = psnr_db(made[side], np.asarray(picture), np.asarray(mask))
            out[f"{side}_mask_iou"] = mask_iou(made[f"{side}_mask"], np.asarray(mask))
        return {name: round(value, 4) for name, value in out.items()}

    def preview(self, made: dict[str, np.ndarray]) -> np.ndarray:
        """Rows: wearer, swapped, swapped laid over; persona, persona again. uint8 (h, w, 3) RGB."""

        def row(images: np.ndarray) -> np.ndarray:
            return np.concatenate(list(images[spread(len(images), COLUMNS)]), axis=1)

        worn = np.asarray(self.wearer[0])
        mask = made["swapped_mask"] * made["wearer_mask"]
        laid = made["swapped"] * mask + worn * (1 - mask)
        rows = [row(worn), row(made["swapped"]), row(laid), row(np.asarray(self.persona[0])), row(made["persona"])]
        width = min(r.shape[1] for r in rows)
        sheet = np.concatenate([r[:, :width] for r in rows])
        return np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)


def write_picture(path: Any, image: np.ndarray) -> None:
    """Write RGB as PNG in one step; raises OSError when the disk is full."""
    write_png(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
