"""Two more of mediapipe's bundled graphs, for masks: which pixels are a person, and where hands are. Each picture stands for itself."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.mediapipe_graphs import Graph, load_mediapipe, packed_points, serialized_list

MOST_HANDS = 4  # two people's

_PERSON_GRAPH = """
input_stream: "image"
input_side_packet: "model_selection"
output_stream: "mask"
node {
  calculator: "SelfieSegmentationCpu"
  input_stream: "IMAGE:image"
  input_side_packet: "MODEL_SELECTION:model_selection"
  output_stream: "SEGMENTATION_MASK:mask"
}
"""
_HANDS_GRAPH = """
input_stream: "image"
input_side_packet: "num_hands"
input_side_packet: "model_complexity"
input_side_packet: "use_prev_landmarks"
output_stream: "hands"
node {
  calculator: "HandLandmarkTrackingCpu"
  input_stream: "IMAGE:image"
  input_side_packet: "NUM_HANDS:num_hands"
  input_side_packet: "MODEL_COMPLEXITY:model_complexity"
  input_side_packet: "USE_PREV_LANDMARKS:use_prev_landmarks"
  output_stream: "LANDMARKS:hands"
}
"""


class PersonGraph(Graph):
    """How surely each pixel is a person, by the selfie model for square pictures (256×256)."""

    def __init__(self) -> None:
        square = load_mediapipe().packet_creator.create_int(0)
        super().__init__(_PERSON_GRAPH, ("mask",), {"model_selection": square})

    def _warm_up(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self(image)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
        """In [0, 1], of the picture's size."""
        result = self._process({"image": self._image(image)})
        return np.array(self._mp.packet_getter.get_image_frame(result["mask"]).numpy_view()).reshape(image.shape[:2])


class HandsGraph(Graph):
    """The 21 points of every hand, by the light model."""

    def __init__(self) -> None:
        create = load_mediapipe().packet_creator
        from mediapipe.framework.formats import landmark_pb2

        self._class = landmark_pb2.NormalizedLandmarkList
        sides = {
            "num_hands": create.create_int(MOST_HANDS),
            "model_complexity": create.create_int(0),
            "use_prev_landmarks": create.create_bool(False),
        }
        super().__init__(_HANDS_GRAPH, ("hands",), sides)

    def _warm_up(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self(image)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Float32[np.ndarray, "21 3"]]:
        """Points in the picture's pixels, z in the same scale, < 0 nearer than the wrist."""
        h, w = image.shape[:2]
        result = self._process({"image": self._image(image)})
        hands = []
        for data in serialized_list(result["hands"]) if "hands" in result else []:
            points = packed_points(data)
            if points is None:
                points = np.array([(p.x, p.y, p.z) for p in self._class.FromString(data).landmark], np.float32)
            hands.append(points * np.float32([w, h, w]) - np.float32([0.5, 0.5, 0]))
        return hands
