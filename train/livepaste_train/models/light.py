"""``light``: small enough for live use on one CPU core, fast to train on two.

All work happens on maps of a quarter of the crop's side and less, in dense 3×3 convolutions with many channels, which is
what CPUs run near their peak; depthwise layers save multiplications but not time there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flax import nnx

from livepaste.options import one_of, within
from livepaste_train.augment import in_light
from livepaste_train.models.appearance import Appearance
from livepaste_train.models.autoencoder import PERSONA, SIDES, WEARER, Autoencoder
from livepaste_train.models.blocks import BLOCKS
from livepaste_train.models.layers import Conv, Dense, Down, Residual, Up, constant, evened, logits_of
from livepaste_train.models.shading import Shading
from livepaste_train.models.style import style_of
from livepaste_train.ops import EVEN, JAX_OPS
from livepaste_train.recipe import check_resolution


@dataclass(frozen=True)
class LightOptions:
    """Widths at 1/4, 1/8 and 1/16 of the side, of the last map at 1/2, of the bottleneck's map, of the code, and of the contour's map; and
    what encoder and pictures are made of (``models/blocks.py``)."""

    resolution: int = 112
    quarter: int = 64
    eighth: int = 128
    sixteenth: int = 160
    half: int = 32
    neck: int = 32
    code: int = 160
    contour: int = 48
    block: str = "dense"

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        for name in ("quarter", "eighth", "sixteenth", "half", "neck", "code", "contour"):
            within(name, getattr(self, name), 1, 2048)
        one_of("block", self.block, tuple(BLOCKS))


class Encoder(nnx.Module):
    """Crop to code: what the face does, in ``code`` numbers."""

    def __init__(self, o: LightOptions, rngs: nnx.Rngs) -> None:
        side, self.style = o.resolution // 16, style_of(rngs)
        block = BLOCKS[o.block]
        self.stem = Conv(48, o.quarter, 3, rngs)
        self.quarter = block(o.quarter, rngs)
        self.down8 = Down(o.quarter, o.eighth, rngs)
        self.eighth = block(o.eighth, rngs)
        self.down16 = Down(o.eighth, o.sixteenth, rngs)
        self.sixteenth = block(o.sixteenth, rngs)
        self.neck = Conv(o.sixteenth, o.neck, 1, rngs)
        self.code = Dense(side * side * o.neck, o.code, rngs)

    def down_from(self, level: int, x: Any, ops: Any) -> Any:
        """One level of four: the maps at 1/4, 1/8 and 1/16 of the side, then the code."""
        if level == 0:
            return self.quarter(self.stem(ops.space_to_depth(evened(x, ops), 4), ops), ops)
        x = self.style.active(x, ops)
        if level == 1:
            return self.eighth(self.down8(x, ops), ops)
        if level == 2:
            return self.sixteenth(self.down16(x, ops), ops)
        return self.code(ops.flatten(self.style.active(self.neck(x, ops), ops)), ops)

    def __call__(self, x: Any, ops: Any) -> Any:
        for level in range(4):
            x = self.down_from(level, x, ops)
        return x


# Parameters of a decoder that its picture alone needs.
PICTURE = ("canvas", "widen", "sixteenth", "up8", "eighth", "up4", "quarter", "up2", "half", "picture_head")


class Decoder(nnx.Module):
    """Code to picture and mask. ``identities`` > 1 only in the base."""

    def __init__(self, o: LightOptions, rngs: nnx.Rngs, *, identities: int = 1) -> None:
        self.side, self.style = o.resolution // 16, style_of(rngs)
        # What this face looks like on average, as logits: the network draws the difference. Set from the faces before
        # the first step, so that nothing has to be spent on learning where a face's parts usually are.
        self.canvas = nnx.Param(constant(0.0, (1, o.resolution, o.resolution, 3)))
        self.mask_canvas = nnx.Param(constant(0.0, (1, o.resolution, o.resolution, 1)))
        self.usual = nnx.Param(constant(EVEN, (3,)))  # its faces' mean colour; set like the canvas and never trained
        n, block = {"identities": identities}, BLOCKS[o.block]
        self.spread = Dense(o.code, self.side * self.side * o.neck, rngs, **n)
        self.widen = Conv(o.neck, o.sixteenth, 1, rngs, **n)
        self.sixteenth = block(o.sixteenth, rngs, **n)
        self.up8 = Up(o.sixteenth, o.eighth, rngs, **n)
        self.eighth = block(o.eighth, rngs, **n)
        self.up4 = Up(o.eighth, o.quarter, rngs, **n)
        self.quarter = block(o.quarter, rngs, **n)
        self.up2 = Up(o.quarter, o.half, rngs, **n)
        self.half = block(o.half, rngs, **n)
        self.picture_head = Conv(o.half, 12, 3, rngs, gain=0.2, **n)
        # The mask has a thin branch of its own, so that the wearer's can be had without the wearer's picture.
        self.mask16 = Conv(o.neck, 64, 3, rngs, **n)
        self.mask8 = Up(64, 32, rngs, **n)
        self.mask8_mix = Residual(32, rngs, **n)
        self.mask4 = Up(32, 24, rngs, **n)
        self.mask4_mix = Residual(24, rngs, **n)
        self.mask_head = Conv(24, 16, 3, rngs, gain=0.2, **n)

    def _spread(self, code: Any, ops: Any, who: Any) -> Any:
        spread = self.spread(self.style.active(code, ops), ops, who)
        return self.style.active(ops.unflatten(spread, self.side), ops)

    def up_to(self, level: int, x: Any, ops: Any, who: Any = 0, canvas: Any = None) -> Any:
        """One level of four, see :meth:`Encoder.down_from`; at level 0 the picture. Other words as for :meth:`picture`."""
        if level == 3:
            return self.widen(self._spread(x, ops, who), ops, who)
        if level == 2:
            return self.up8(self.style.active(self.sixteenth(x, ops, who), ops), ops, who)
        if level == 1:
            return self.up4(self.style.active(self.eighth(x, ops, who), ops), ops, who)
        x = self.up2(self.style.active(self.quarter(x, ops, who), ops), ops, who)
        x = self.picture_head(self.style.active(self.half(x, ops, who), ops), ops, who)
        x = ops.depth_to_space(x, 2)
        return ops.sigmoid(ops.shift(x, self.canvas[...][0]) if canvas is None else ops.add(x, canvas))

    def picture(self, code: Any, ops: Any = JAX_OPS, who: Any = 0, canvas: Any = None) -> Any:
        """(b, code) -> (b, s, s, 3) in [0, 1]. ``canvas``: one for each example (b, s, s, 3) instead of its own."""
        for level in (3, 2, 1, 0):
            code = self.up_to(level, code, ops, who, canvas)
        return code

    def mask(self, code: Any, ops: Any = JAX_OPS, who: Any = 0, canvas: Any = None) -> Any:
        """(b, code) -> (b, s, s, 1) in [0, 1]."""
        return ops.sigmoid(self.mask_logits(code, ops, who, canvas))

    def mask_logits(self, code: Any, ops: Any = JAX_OPS, who: Any = 0, canvas: Any = None) -> Any:
        """The mask before its sigmoid: what it is learned by."""
        x = self.style.active(self.mask16(self._spread(code, ops, who), ops, who), ops)
        x = self.mask8_mix(self.mask8(x, ops, who), ops, who)
        x = self.mask4_mix(self.mask4(self.style.active(x, ops), ops, who), ops, who)
        x = ops.depth_to_space(self.mask_head(self.style.active(x, ops), ops, who), 4)
        return ops.shift(x, self.mask_canvas[...][0] if canvas is None else canvas)


class Contour(nnx.Module):
    """The wearer's mask, drawn to the edges of the wearer's own picture.

    A code knows how a head is turned to within a pixel or two; where hair, jaw and background meet can be seen. The persona's mask has
    no picture to go by.
    """

    def __init__(self, o: LightOptions, rngs: nnx.Rngs) -> None:
        self.style = style_of(rngs)
        self.of_crop = Conv(48, o.contour, 3, rngs)
        self.of_mask = Conv(16, o.contour, 3, rngs)
        self.mix = Residual(o.contour, rngs)
        self.head = Conv(o.contour, 16, 3, rngs, gain=0.02)  # begins as the mask that it is given

    def __call__(self, crops: Any, logits: Any, ops: Any = JAX_OPS) -> Any:
        """Crops (b, s, s, 3) in [0, 1] and the code's logits (b, s, s, 1) -> logits (b, s, s, 1)."""
        mask = ops.scale(ops.sigmoid(logits), 2.0, -1.0)
        x = ops.add(
            self.of_crop(ops.space_to_depth(evened(crops, ops), 4), ops), self.of_mask(ops.space_to_depth(mask, 4), ops)
        )
        return ops.add(logits, ops.depth_to_space(self.head(self.style.active(self.mix(x, ops), ops), ops), 4))


class LightAutoencoder(Autoencoder):
    """One shared encoder; a decoder for the persona and one that all wearers share.

    ``appearance``: where the persona's is measured, what its decoder adds to in place of a canvas that stands still.
    """

    Options = LightOptions
    appearance: Appearance | None = None
    LEVELS = (
        ("encoder/stem/*", "*/quarter/*", "*/up2/*", "*/half/*", "*/picture_head/*", "*/canvas"),
        ("encoder/down8/*", "*/eighth/*", "*/up4/*"),
        ("encoder/down16/*", "*/sixteenth/*", "*/up8/*"),
        ("encoder/neck/*", "encoder/code/*", "*/spread/*", "*/widen/*"),
    )

    def __init__(self, options: LightOptions, rngs: nnx.Rngs) -> None:
        self.encoder = Encoder(options, rngs)
        self.persona = Decoder(options, rngs)
        self.wearer = Decoder(options, rngs)
        self.contour = Contour(options, rngs)
        self.shading = Shading(options.code)
        self.light_share = nnx.Param(constant(1.0, (1,)))  # never trained

    def start_from(self, persona: tuple[Any, Any, Any], wearer: tuple[Any, Any, Any], wearers: int = 1) -> None:
        """Set what is each side's own.

        Of several ``wearers`` nobody's usual colour is known, and a dark skin is no dark room: the light is not followed.
        """
        self.light_share[...] = constant(float(wearers == 1), (1,))
        for side, (picture, mask, usual) in zip(SIDES, (persona, wearer), strict=True):
            decoder = self.of(side)
            for canvas, mean in ((decoder.canvas, picture), (decoder.mask_canvas, mask)):
                canvas[...] = logits_of(mean)[None]
            decoder.usual[...] = usual

    def down_from(self, level: int, x: Any, ops: Any) -> Any:
        return self.encoder.down_from(level, x, ops)

    def up_to(self, level: int, side: str, x: Any, ops: Any) -> Any:
        return self.of(side).up_to(level, x, ops)

    def canvas_of(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        if self.appearance is None or self.of(side) is not self.persona:
            return None
        return self.appearance(code, ops)

    def picture(self, side: str, code: Any, ops: Any = JAX_OPS, canvas: Any = None) -> Any:
        """``canvas``: as ``canvas_of`` gave it for another code of the same face."""
        return self.of(side).picture(code, ops, canvas=self.canvas_of(side, code, ops) if canvas is None else canvas)

    def mask_logits(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return self.of(side).mask_logits(code, ops)

    def drawn_to_edges(self, crops: Any, logits: Any, ops: Any = JAX_OPS) -> Any:
        return self.contour(crops, logits, ops)

    def wanted(self, side: str, pictures: Any, masks: Any) -> Any:
        """In the side's usual colour."""
        return in_light(pictures, masks, self.of(side).usual[...])

    def again(self, side: str, code: Any, crops: Any, masks: Any) -> Any:
        """Lit as in the crops."""
        return in_light(self.picture(side, code), masks, JAX_OPS.tone_under(crops, masks))

    def swap(self, crops: Any, ops: Any = JAX_OPS) -> dict[str, Any]:
        """The persona in the wearer's pose, expression and light.

        Decoders draw their person in its usual tone, or nearly: what is left of the wearer's complexion is taken off.
        How the wearer's face is lit is seen against the wearer's usual at this turn of the head.
        """
        code = self.encode(crops, ops)
        picture, mask = self.picture(PERSONA, code, ops), self.mask(PERSONA, code, ops)
        wearer_mask = ops.sigmoid(self.contour(crops, self.mask_logits(WEARER, code, ops), ops))
        picture = ops.even(picture, ops.tone_under(picture, mask))
        turn, tone = self.shading.turn(code, ops), ops.tone_under(crops, wearer_mask)
        usual = self.shading.wearer(self.wearer.usual[...], turn, ops)
        own = self.shading.persona(self.persona.usual[...], turn, ops)
        return {
            "image": ops.relight(picture, tone, usual, self.light_share[...], own),
            "persona_mask": mask,
            "wearer_mask": wearer_mask,
            "code": code,
        }


class LightBase(nnx.Module):
    """The same encoder with one decoder for many identities: what the base is trained as."""

    def __init__(self, options: LightOptions, identities: int, numbers: int, rngs: nnx.Rngs) -> None:
        self.encoder = Encoder(options, rngs)
        self.decoder = Decoder(options, rngs, identities=identities)
        self.reader = Dense(options.code, numbers, rngs)  # what is played, straight from the code
