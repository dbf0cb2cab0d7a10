"""``livepaste devices``: what this machine has, and what to do where something is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from livepaste.errors import DeviceError
from livepaste.options import DevicesOptions

if TYPE_CHECKING:
    from livepaste.devices.camera import NamedCamera


def run(options: DevicesOptions) -> None:
    found = _cameras()
    print("cameras")
    for camera in found:
        print(f"  {camera.index}  {camera.name}" + (f" ({camera.trouble})" if camera.trouble else ""))
    if not found:
        print("  none found; plug one in or start it, or play a clip: --camera FILE")
    cameras = [camera for camera in found if not camera.trouble]
    print("virtual cameras")
    usable = _virtual_cameras()
    print("ONNX Runtime")
    import onnxruntime

    print(f"  {', '.join(onnxruntime.get_available_providers())}")
    print("jax (training)")
    if options.jax:  # in a process of its own: it takes seconds and claims the accelerator's memory
        code = "import jax; print(', '.join(f'{d.platform} {d.device_kind}' for d in jax.devices()))"
        try:
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
            )
            print(f"  {done.stdout.strip() or (done.stderr.strip() or 'none').splitlines()[-1]}")
        except subprocess.TimeoutExpired:
            print("  no answer in 120 s; is another program using the accelerator?")
    else:
        print("  not asked")
    if not cameras or not usable:
        missing = " and ".join(name for name, there in (("camera", cameras), ("virtual camera", usable)) if not there)
        raise DeviceError(f"a live call cannot work yet: no {missing}")


def _cameras() -> list[NamedCamera]:
    """Linux names its cameras; elsewhere the first few numbers are tried, through the backend that ``live`` uses."""
    import cv2

    from livepaste.devices.camera import BACKEND, NamedCamera, named_cameras

    if sys.platform == "linux":
        return named_cameras()

    found = []
    for index in range(5):
        capture = cv2.VideoCapture(index, BACKEND.get(sys.platform, cv2.CAP_ANY))
        if capture.isOpened():
            found.append(NamedCamera(index, f"{int(capture.get(3))}x{int(capture.get(4))}"))
        capture.release()
    return found


def _virtual_cameras() -> list[str]:
    """Backends that can be opened; prints each with its reason and remedy."""
    from pyvirtualcam import Camera
    from pyvirtualcam.camera import BACKENDS

    from livepaste.devices.virtualcam import remedy

    usable = []
    for name in BACKENDS:
        try:
            with Camera(1280, 720, 30, backend=name) as camera:
                usable.append(name)
                print(f"  {name}: {camera.device}")
        except Exception as error:  # each backend raises its own
            print(f"  {name}: {' '.join(str(error).split())}")
            print(f"    {remedy()}")
    if not BACKENDS:
        print(f"  none for {sys.platform}")
    return usable
