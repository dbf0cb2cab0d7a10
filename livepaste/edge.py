"""What happens along the edge of the persona's face: its skin carried on outwards, and where the wearer's skin goes on."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from livepaste.types import Swap

SKIN = 0.6, 0.95  # of the persona's mask: between these a pixel becomes surely its skin
REACH = 0.025  # share of the crop's side: sigma of what skin is carried on with
LEFT = 0.25, 0.6  # of the persona's mask: between these a pixel leaves its face
KEPT = 0.5, 0.9  # of the wearer's mask: between these a pixel becomes surely the wearer's face


def ramp(mask: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to ``low``, 1 from ``high`` on."""
    return np.clip((mask - low) / (high - low), 0, 1)


def carry_on(swap: Swap) -> Float32[np.ndarray, "s s 3"]:
    """The persona with its skin carried on over what surrounds its face (normalized convolution, Knutsson and Westin 1993).

    A soft edge mixes in what lies just outside: the persona's own hair and room, a dark arc on the wearer's forehead and
    streaks at the temples.
    """
    skin = ramp(swap.persona_mask, *SKIN)
    spread = cv2.GaussianBlur(cv2.merge([swap.image * skin[..., None], skin]), (0, 0), REACH * len(skin))
    near = spread[..., 3:]
    carried = spread[..., :3] / np.maximum(near, 1e-3)
    # far from all skin there is nothing to carry on, and no mask either
    own = np.maximum(skin[..., None], 1 - np.minimum(near / 0.02, 1))
    return carried + own * (swap.image - carried)


def kept_skin(swap: Swap) -> Float32[np.ndarray, "s s"]:
    """1 where the wearer's own face stays visible beside the persona's: a higher forehead, a broader cheek."""
    return ramp(swap.wearer_mask, *KEPT) * (1 - ramp(swap.persona_mask, *LEFT))
