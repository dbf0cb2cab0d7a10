"""livepaste: a face you have trained, pixel by pixel over the face at the camera.

>>> import livepaste
>>> swapper = livepaste.load("checkpoints/NAME")
>>> out = swapper(frame_rgb)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from livepaste.build import load


def __getattr__(name: str) -> Any:
    # `load` pulls in the heavy edges; `livepaste --help` must not.
    if name == "load":
        from livepaste.build import load

        return load
    raise AttributeError(f"module 'livepaste' has no attribute {name!r}")
