"""The two mediapipe graphs the finder drives itself: face mesh inside a given square, and full-range detection.

mediapipe's ready-made FaceMesh starts from its short-range detector, which misses faces around 130 px in a 720p
frame, and nothing can tell it where to look. Its inner graph, ``FaceLandmarkCpu``, takes the square as an input: so
the finder decides where the mesh is put, follows several faces with one graph, and sees the presence score.
The models are inside the wheel; nothing is downloaded.
"""

from __future__ import annotations

import os
import sys
import threading
import types
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

POINTS = 478  # 468 of the mesh, 10 of the irises
_STEP_US = 33_333  # a graph wants rising timestamps; what they are does not matter to these two

_MESH_GRAPH = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "with_attention"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
_DETECTION_GRAPH = """
input_stream: "image"
output_stream: "detections"
node {
  calculator: "FaceDetectionFullRangeCpu"
  input_stream: "IMAGE:image"
  output_stream: "DETECTIONS:detections"
}
"""
_PRESENCE = "facelandmarkcpu__face_presence_score"  # inside the expanded mesh graph


@dataclass(frozen=True)
class Square:
    """A turned square in frame pixels: where the mesh looks."""

    x: float  # centre
    y: float
    side: float
    angle: float  # radians, clockwise in the picture; 0 = upright face


@dataclass(frozen=True, eq=False)
class Detection:
    """One face the detector saw."""

    box_xywh: tuple[float, float, float, float]  # frame pixels
    eyes_xy: Float32[np.ndarray, "2 2"]  # the wearer's right eye, left eye
    score: float


@cache
def load_mediapipe() -> types.ModuleType:
    """Import mediapipe quietly and without matplotlib, which it imports (1.5 of 2.2 s) and nothing here uses."""
    os.environ.setdefault("GLOG_minloglevel", "2")  # "Created TensorFlow Lite XNNPACK delegate" and the like
    names = ("matplotlib", "matplotlib.pyplot")
    stand_ins = [] if "matplotlib" in sys.modules else list(names)
    for name in stand_ins:
        sys.modules[name] = types.ModuleType(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # mediapipe's own use of protobuf and numpy
            import mediapipe
            from mediapipe.python._framework_bindings import resource_util
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)
    resource_util.set_resource_dir(str(Path(mediapipe.__file__).parent.parent))
    return mediapipe


_stderr_lock = threading.Lock()


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what native code writes to stderr: absl's start-up notes come before any level can be set from Python."""
    with _stderr_lock:
        try:
            kept = os.dup(2)
        except OSError:  # closed by the caller (a service): nothing to silence
            yield
            return
        try:
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class Graph(ABC):
    """A running mediapipe graph that is fed one timestamp at a time and keeps the newest packet of each output."""

    def __init__(self, text: str, outputs: tuple[str, ...], side_packets: dict[str, Any]):
        self._mp = load_mediapipe()
        from google.protobuf import text_format
        from mediapipe.framework import calculator_pb2

        plain = text_format.Parse(text, calculator_pb2.CalculatorGraphConfig())
        expanded = self._mp.ValidatedGraphConfig()
        expanded.initialize(graph_config=plain)  # resolves the subgraph into its calculators
        config = calculator_pb2.CalculatorGraphConfig()
        config.ParseFromString(expanded.binary_config)
        del config.executor[:]
        self._config, self._outputs, self._side_packets = config, outputs, side_packets
        self._start()
        with _quiet_stderr():
            self._warm_up(np.zeros((64, 64, 3), np.uint8))  # loads the models, so that the first frame is not slow

    def _start(self) -> None:
        self._latest: dict[str, Any] = {}
        self._graph = self._mp.CalculatorGraph(graph_config=self._config)
        for name in self._outputs:
            self._graph.observe_output_stream(name, self._latest.__setitem__, True)
        self._time_us = 0
        with _quiet_stderr():
            self._graph.start_run(self._side_packets)

    @abstractmethod
    def _warm_up(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Process one picture, so that the models are loaded."""

    def _image(self, image: UInt8[np.ndarray, "h w 3"]) -> Any:
        frame = self._mp.ImageFrame(image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        return self._mp.packet_creator.create_image_frame(frame)

    def _process(self, packets: dict[str, Any]) -> dict[str, Any]:
        self._latest.clear()
        self._time_us += _STEP_US
        try:
            for name, packet in packets.items():
                self._graph.add_packet_to_input_stream(name, packet.at(self._time_us))
            self._graph.wait_until_idle()
        except Exception:
            if self._graph is not None:  # one that has failed fails for ever: the next picture gets a new one
                failed = self._graph
                self._start()
                with suppress(Exception):  # it says again what went wrong
                    failed.close()
            raise
        return {name: packet for name, packet in self._latest.items() if not packet.is_empty()}

    def close(self) -> None:
        """Stop the graph's threads; a second call does nothing."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None


class MeshGraph(Graph):
    """478 mesh points of the face inside a square."""

    def __init__(self) -> None:
        mediapipe = load_mediapipe()
        attention = mediapipe.packet_creator.create_bool(True)  # lips, eyes and irises refined; 478 points
        from mediapipe.framework.formats import landmark_pb2, rect_pb2

        self._list_class, self._rect_class = landmark_pb2.NormalizedLandmarkList, rect_pb2.NormalizedRect
        super().__init__(_MESH_GRAPH, ("landmarks", _PRESENCE), {"with_attention": attention})

    def _warm_up(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self(image, [Square(32.0, 32.0, 64.0, 0.0)])

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], squares: list[Square]
    ) -> list[tuple[Float32[np.ndarray, "478 3"], float] | None]:
        """Points in frame pixels (z in the same scale) and presence in [0, 1] for each square; None: no face there."""
        if not squares:
            return []  # the packet below is a copy of the whole frame
        h, w = image.shape[:2]
        packet = self._image(image)
        found: list[tuple[np.ndarray, float] | None] = []
        for s in squares:
            rect = self._rect_class(
                x_center=s.x / w, y_center=s.y / h, width=s.side / w, height=s.side / h, rotation=s.angle
            )
            result = self._process({"image": packet, "roi": self._mp.packet_creator.create_proto(rect)})
            found.append(self._read(result, w, h))
        return found

    def _read(self, result: dict[str, Any], w: int, h: int) -> tuple[np.ndarray, float] | None:
        if "landmarks" not in result:
            return None
        data = _packet_getter()._get_serialized_proto(result["landmarks"])
        points = packed_points(data)
        if points is None:
            points = np.array([(p.x, p.y, p.z) for p in self._list_class.FromString(data).landmark], np.float32)
        # mediapipe counts from the pixel's corner; here pixel centres are integers. z is scaled like x.
        points = points * np.float32([w, h, w]) - np.float32([0.5, 0.5, 0])
        return points, float(self._mp.packet_getter.get_float(result[_PRESENCE]))


class DetectionGraph(Graph):
    """Every face the full-range detector sees; in a 192 px wide input, so from about 12 px of it upward."""

    def __init__(self) -> None:
        load_mediapipe()
        from mediapipe.framework.formats import detection_pb2

        self._class = detection_pb2.Detection
        super().__init__(_DETECTION_GRAPH, ("detections",), {})

    def _warm_up(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self(image)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
        h, w = image.shape[:2]
        result = self._process({"image": self._image(image)})
        found = []
        if "detections" in result:
            for data in serialized_list(result["detections"]):
                detection = self._class.FromString(data)
                location = detection.location_data
                box, keys = location.relative_bounding_box, location.relative_keypoints
                eyes = np.array([(keys[i].x * w - 0.5, keys[i].y * h - 0.5) for i in (0, 1)], np.float32)
                box_xywh = (box.xmin * w - 0.5, box.ymin * h - 0.5, box.width * w, box.height * h)
                found.append(Detection(box_xywh, eyes, float(detection.score[0])))
        return found


@cache
def _packet_getter() -> Any:
    """mediapipe's own module below ``packet_getter``, whose ``get_proto`` goes by a deprecated call that warns."""
    from mediapipe.python._framework_bindings import _packet_getter

    return _packet_getter


_LANDMARK = np.dtype(
    [("tag", "S2"), ("x_tag", "S1"), ("x", "<f4"), ("y_tag", "S1"), ("y", "<f4"), ("z_tag", "S1"), ("z", "<f4")]
)


def packed_points(data: bytes) -> Float32[np.ndarray, "n 3"] | None:
    """x, y, z of a serialized landmark list whose landmarks hold just these: 17 bytes each; None where they hold anything else.

    Protobuf's objects take ten times as long: half a millisecond a frame, in which no other thread of Python's runs.
    """
    if not data or len(data) % _LANDMARK.itemsize:
        return None
    rows = np.frombuffer(data, _LANDMARK)
    tags = (("tag", b"\n\x0f"), ("x_tag", b"\r"), ("y_tag", b"\x15"), ("z_tag", b"\x1d"))
    if not all((rows[name] == value).all() for name, value in tags):
        return None
    return np.column_stack([rows["x"], rows["y"], rows["z"]])


def serialized_list(packet: Any) -> list[bytes]:
    getter = _packet_getter()
    if getter._get_proto_vector_size(packet) == 0:
        return []
    return list(getter._get_serialized_proto_list(packet))
