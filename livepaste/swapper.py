"""Crop in, swap out: a checkpoint's ``swap.onnx``."""

from __future__ import annotations

import base64
import binascii

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import STORED_COVERAGE, Alignment
from livepaste.align import crop as cut
from livepaste.checkpoint import RUN, Generation
from livepaste.crop_model import CropModel
from livepaste.errors import CheckpointError
from livepaste.jsons import parse
from livepaste.types import Swap

OUTPUTS = ["image", "persona_mask", "wearer_mask"]


class Swapper:
    """A loaded model. Checks at load that it is aligned as this program aligns and that it computes what it should."""

    def __init__(self, generation: Generation, *, threads: int = 1, provider: str = "auto") -> None:
        self.generation, self.model = generation, generation.model
        net = CropModel(generation, RUN, "a swap", OUTPUTS, threads=threads, provider=provider)
        self.session, self.size, self.coverage = net.session, net.size, net.coverage
        self._check_parity()

    def __call__(self, crop: Float32[np.ndarray, "s s 3"]) -> Swap:
        """The persona in the wearer's pose, light and expression, with both visible-face masks."""
        batch = np.ascontiguousarray(crop.transpose(2, 0, 1))[None]
        made = self.session.run({"crop": batch}, OUTPUTS)
        return Swap(
            image=np.ascontiguousarray(made["image"][0].transpose(1, 2, 0)),
            persona_mask=made["persona_mask"][0, 0],
            wearer_mask=made["wearer_mask"][0, 0],
        )

    def crop_of(
        self, face: UInt8[np.ndarray, "n n 3"], coverage: float = STORED_COVERAGE
    ) -> Float32[np.ndarray, "s s 3"]:
        """A face set's picture, ``coverage`` template units wide, cut to what the model is given: ``size`` pixels, its own coverage, in [0, 1]."""
        scale = (self.size / self.coverage) / (len(face) / coverage)
        shift = (self.size - 1) / 2 - scale * (len(face) - 1) / 2
        alignment = Alignment(np.float32([[scale, 0, shift], [0, scale, shift]]), self.size)
        return cut(face, alignment).astype(np.float32) / 255

    def encode(self, crop: Float32[np.ndarray, "s s 3"]) -> Float32[np.ndarray, k]:
        """The code of an aligned crop, as :meth:`crop_of` or ``livepaste.align`` cut it: what the face does, and, by how the model was trained,
        a little of whose it is, in a few numbers. Codes of one checkpoint can be compared with each other, with another's not.

        Raises ValueError for a crop of another size, CheckpointError for a model that does not give its code.
        """
        if "code" not in self.session.outputs:
            raise CheckpointError(f"{self.generation.path}: swap.onnx does not give its code; export it again")
        return self.session.run({"crop": np.ascontiguousarray(crop.transpose(2, 0, 1))[None]}, ["code"])["code"][0]

    def _check_parity(self) -> None:
        """Run the picture that came with the model and compare: another runtime or provider may compute something else."""
        try:
            parity = parse(self.session.metadata["parity"])
            crop, expected = (_picture(parity[name], self.size) for name in ("input", "image"))
            tolerance = float(parity["tolerance"])
        except (KeyError, ValueError, TypeError, binascii.Error) as error:
            raise CheckpointError(
                f"{self.generation.path}: swap.onnx lacks its parity picture; export it again"
            ) from error
        try:
            made = self(crop).image
        except Exception as error:  # onnxruntime's own classes share no base
            raise CheckpointError(
                f"{self.generation.path}: cannot be run on {self.session.provider} ({error})"
            ) from error
        difference = float(np.abs(made - expected).max())
        if not difference <= tolerance:  # also when it is not a number
            raise CheckpointError(
                f"{self.generation.path}: on {self.session.provider} the model differs from what was trained by {difference:.3g} "
                f"(at most {tolerance:g}); train on it or export it again with the versions that are installed here"
            )


def _picture(text: str, size: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(base64.b64decode(text, validate=True), np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape[:2] != (size, size):
        raise ValueError("parity picture is damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.float32) / 255
