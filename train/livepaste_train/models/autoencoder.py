"""What training, validation and export ask of every architecture."""

from __future__ import annotations

from typing import Any

from flax import nnx

from livepaste_train.ops import JAX_OPS

PERSONA, WEARER = SIDES = "persona", "wearer"


class Autoencoder(nnx.Module):
    """One shared encoder; picture and mask for each of the two ``SIDES``, by two decoders or by one that is told which.

    Crops and pictures (b, s, s, 3) in [0, 1], masks (b, s, s, 1), codes (b, n). An architecture has ``mask_logits``, and either ``LEVELS``
    with ``down_from`` and ``up_to`` or ``numbers`` and ``picture``; the rest it overrides where it knows more.
    """

    Options: type
    masks = True  # whether they are learned
    unit = "none"  # what the code's numbers go through: see recipe.UNITS
    # Where encoder and decoders are mirror images: patterns of the parameters' names that each level has, from the crop to the code
    LEVELS: tuple[tuple[str, ...], ...] = ()

    def of(self, side: str) -> Any:
        """What draws a side, where each has a decoder of its own."""
        return {PERSONA: self.persona, WEARER: self.wearer}[side]

    def alone(self) -> None:
        """Both sides are one person from here on: what draws the wearers is what draws the persona."""
        self.wearer = self.persona

    def start_from(self, persona: tuple[Any, Any, Any], wearer: tuple[Any, Any, Any], wearers: int = 1) -> None:
        """Take what is known of the faces before the first step: each side's mean picture (s, s, 3), mean mask (s, s, 1) and usual
        colour (3,), in [0, 1], and how many people the wearers are."""

    def numbers(self, crops: Any, ops: Any) -> Any:
        """The code before its unit."""
        for level in range(len(self.LEVELS)):
            crops = self.down_from(level, crops, ops)
        return crops

    def down_from(self, level: int, x: Any, ops: Any) -> Any:
        """A level's map (the crops, at level 0) to the next one's; at the last level to the code's numbers."""
        raise NotImplementedError

    def up_to(self, level: int, side: str, x: Any, ops: Any) -> Any:
        """The other way, by what draws ``side``: from what ``down_from`` gives back to what it takes; at level 0 to the picture."""
        raise NotImplementedError

    def encode(self, crops: Any, ops: Any = JAX_OPS) -> Any:
        return self.through_unit(self.numbers(crops, ops), ops)

    def through_unit(self, numbers: Any, ops: Any = JAX_OPS) -> Any:
        """The code's numbers as its units have them."""
        return numbers if self.unit == "none" else {"sigmoid": ops.sigmoid, "tanh": ops.tanh}[self.unit](numbers)

    def picture(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        for level in reversed(range(len(self.LEVELS))):
            code = self.up_to(level, side, code, ops)
        return code

    def canvas_of(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        """What the decoder of ``side`` adds to, (b, s, s, 3), where that is told by the code; None where it is not."""
        return None

    def mask_logits(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        """The mask before its sigmoid: what it is learned by."""
        raise NotImplementedError

    def mask(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return ops.sigmoid(self.mask_logits(side, code, ops))

    def drawn_to_edges(self, crops: Any, logits: Any, ops: Any = JAX_OPS) -> Any:
        """The wearer's mask as the wearer's own picture shows its edges: logits -> logits. None where nothing does that."""
        return None

    def wanted(self, side: str, pictures: Any, masks: Any) -> Any:
        """What a side's decoder is to draw for ``pictures`` of its people."""
        return pictures

    def again(self, side: str, code: Any, crops: Any, masks: Any) -> Any:
        """A side's own people, drawn again as they are in ``crops``."""
        return self.picture(side, code)

    def swap(self, crops: Any, ops: Any = JAX_OPS) -> dict[str, Any]:
        """The persona in the wearer's pose and expression: image, persona_mask, wearer_mask, code."""
        code = self.encode(crops, ops)
        return {
            "image": self.picture(PERSONA, code, ops),
            "persona_mask": self.mask(PERSONA, code, ops),
            "wearer_mask": self.mask(WEARER, code, ops),
            "code": code,
        }
