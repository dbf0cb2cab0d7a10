"""People who do not exist, performing, with exact truth: picture, landmarks and visible-face mask."""

MAKER_VERSION = 6  # kept in every figure: changes whenever the same seed draws another picture
