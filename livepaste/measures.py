"""Numbers for what the eye judges. Pure functions; pictures are uint8 or float RGB of one frame, masks bool (h, w)."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

BAND = 0.02  # half the width of the seam's band, as a share of the face's width
EDGE_PX = 2.0  # tolerance of the boundary measure on a face of 256 px
# Inner face: brows, eyes, nose and lips of the mesh, where expression shows.
INNER_FACE = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
              61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178)  # fmt: skip
EYE_CORNERS = (33, 263)


def squared_error(image: np.ndarray, truth: np.ndarray, region: Bool[np.ndarray, "h w"]) -> float:
    """Mean squared error over the region's pixels and channels, on the scale of 0 to 255; NaN for an empty region."""
    if not region.any():
        return float("nan")
    return float(np.square(image[region].astype(np.float64) - truth[region]).mean())


def psnr_db(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio for a peak of 255."""
    return float(10 * np.log10(255.0**2 / max(mean_squared_error, 1e-9)))


def swap_ssim(image: np.ndarray, truth: np.ndarray, region: Bool[np.ndarray, "h w"]) -> float:
    """Structural similarity of the lumas (Wang et al. 2004: Gaussian σ 1.5, K 0.01 and 0.03), mean over the region."""
    if not region.any():
        return float("nan")
    ys, xs = np.nonzero(region)
    box = np.s_[max(0, ys.min() - 6) : ys.max() + 7, max(0, xs.min() - 6) : xs.max() + 7]
    x, y = (cv2.cvtColor(np.ascontiguousarray(a[box]), cv2.COLOR_RGB2GRAY).astype(np.float64) for a in (image, truth))

    def blur(a: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(a, (11, 11), 1.5)

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ssim = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(ssim[region[box]].mean())


def mask_iou(mask: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union; 1 when both are empty."""
    union = np.count_nonzero(mask | truth)
    return 1.0 if union == 0 else np.count_nonzero(mask & truth) / union


def share_of(mask: Bool[np.ndarray, "h w"], region: Bool[np.ndarray, "h w"]) -> float:
    """How much of a region is under the mask; NaN for an empty region."""
    area = np.count_nonzero(region)
    return np.count_nonzero(mask & region) / area if area else float("nan")


def edge(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The mask's own pixels that touch the outside."""
    eroded = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    return mask & (eroded == 0)


def mask_boundary_f(mask: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"], face_px: float) -> float:
    """Boundary F measure (Perazzi et al. 2016): edges within 2 px on a face of 256 px count as met."""
    a, b = edge(mask), edge(truth)
    if not a.any() or not b.any():
        return float(not a.any() and not b.any())
    reach = EDGE_PX * face_px / 256

    def near(of: np.ndarray, to: np.ndarray) -> float:
        distance = cv2.distanceTransform((~to).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return float((distance[of] <= max(reach, 1.0)).mean())

    precision, recall = near(a, b), near(b, a)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def gradient_size(image: np.ndarray) -> Float[np.ndarray, "h w"]:
    """Length of the luma's gradient by central differences."""
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    dx = cv2.filter2D(grey, -1, np.array([[-0.5, 0, 0.5]], np.float32))
    dy = cv2.filter2D(grey, -1, np.array([[-0.5], [0], [0.5]], np.float32))
    return np.hypot(dx, dy)


def seam(
    image: np.ndarray, unswapped: np.ndarray, mask: Bool[np.ndarray, "h w"], face_px: float
) -> tuple[float, float]:
    """Added gradient in the band around the mask's border ÷ the unswapped gradient there, and the band's sharpness.

    0 added is invisible; a sharpness far below 1 is a blur, which would hide a seam too. NaN without a border.
    """
    border = edge(mask)
    if not border.any():
        return float("nan"), float("nan")
    distance = cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    band = distance <= max(1.0, BAND * face_px)
    out, before = gradient_size(image)[band], gradient_size(unswapped)[band]
    base = max(float(before.mean()), 1e-6)
    return float(np.maximum(0, out - before).mean()) / base, float(out.mean()) / base


def sharpness(image: np.ndarray, beside: np.ndarray, region: Bool[np.ndarray, "h w"]) -> float:
    """Mean gradient in the region ÷ that of ``beside`` there: below 1 is softer than that. NaN for an empty region."""
    if not region.any():
        return float("nan")
    own, other = (float(gradient_size(picture)[region].mean()) for picture in (image, beside))
    return own / max(other, 1e-6)


def flicker(
    out: tuple[np.ndarray, np.ndarray], truth: tuple[np.ndarray, np.ndarray], region: Bool[np.ndarray, "h w"]
) -> float:
    """Mean |(out_t − out_{t−1}) − (truth_t − truth_{t−1})| over the region, on the scale of 0 to 255."""
    if not region.any():
        return float("nan")
    moved = [a[1][region].astype(np.float64) - a[0][region] for a in (out, truth)]
    return float(np.abs(moved[0] - moved[1]).mean())


def noise_change(sigma: float) -> float:
    """Mean absolute difference of two frames' independent normal noise: 2σ/√π."""
    return 2 * sigma / float(np.sqrt(np.pi))


def expression_error(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of the inner-face landmarks (n, 2+) in units of the distance between the outer eye corners."""
    ids, (a, b) = list(INNER_FACE), EYE_CORNERS
    unit = np.linalg.norm(truth[a, :2] - truth[b, :2])
    return float(np.linalg.norm(found[ids, :2] - truth[ids, :2], axis=1).mean() / unit)


def pose_error_deg(found: tuple[float, float, float], truth: tuple[float, float, float]) -> float:
    """Mean absolute difference of yaw, pitch and roll, degrees."""
    return float(np.abs(np.subtract(found, truth)).mean())


EYES, LIDS, LIPS, BROWS = (33, 263), ((159, 145), (386, 374)), (13, 14), ((105, 159), (334, 386))


def expression(points: np.ndarray) -> Float[np.ndarray, 3]:
    """How far mouth and eyes (mean of both) are open and brows stand above them, in units of the distance of the outer eye corners."""
    xy = points[:, :2].astype(np.float64)
    unit = max(float(np.linalg.norm(xy[EYES[0]] - xy[EYES[1]])), 1e-6)

    def gap(*pairs: tuple[int, int]) -> float:
        return float(np.mean([np.linalg.norm(xy[a] - xy[b]) for a, b in pairs])) / unit

    return np.array([gap(LIPS), gap(*LIDS), gap(*BROWS)])


EXPRESSION = "mouth", "eyes", "brows"
MOVES = 1e-4  # standard deviation over a film, of the eyes' distance: less is a still picture


def _moving(wearer: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, 3]:
    """Which of them can be followed: of fewer than three frames none."""
    return wearer.std(0) > MOVES if len(wearer) >= 3 else np.zeros(3, bool)


def followed(
    out: Float[np.ndarray, "n 3"], wearer: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, 3], Float[np.ndarray, 3]]:
    """How each :func:`expression` of a film follows the wearer's: 1 less Pearson's correlation, and how far it moves as a share of the wearer's
    (of standard deviations). NaN for what does not move at all; what moves hardly more than landmarks tremble (some thousandths) tells little.
    A turn of the head shortens the unit, so all of them move a little with it.

    The mean of the errors hides what moves: a persona whose mouth follows and whose eyes never shut is not one that does half of everything.
    """
    moves = _moving(wearer)
    if not moves.any():
        return np.full(3, np.nan), np.full(3, np.nan)
    a, b = (x - x.mean(0) for x in (out, wearer))
    sizes = a.std(0), b.std(0)
    error = 1 - (a * b).mean(0) / np.maximum(sizes[0] * sizes[1], 1e-12)
    return np.where(moves, error, np.nan), np.where(moves, sizes[0] / np.maximum(sizes[1], 1e-12), np.nan)


def expression_error_of_film(out: Float[np.ndarray, "n 3"], wearer: Float[np.ndarray, "n 3"]) -> float:
    """The mean of the errors by which it is :func:`followed`; NaN where none can be told."""
    moves = _moving(wearer)
    return float(followed(out, wearer)[0][moves].mean()) if moves.any() else float("nan")


def carried(image: UInt8[np.ndarray, "h w 3"], flow: Float[np.ndarray, "h w 2"]) -> UInt8[np.ndarray, "h w 3"]:
    """A picture moved along: ``flow`` says, for each pixel of the new one, where in ``image`` it was, as a difference."""
    h, w = image.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    return cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def motion(new: UInt8[np.ndarray, "h w 3"], old: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 2"]:
    """Where each pixel of ``new`` was in ``old``: dense inverse search (Kroeger et al. 2016) on the lumas."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(*(cv2.cvtColor(a, cv2.COLOR_RGB2GRAY) for a in (new, old)), None)


def change(new: np.ndarray, old: np.ndarray, region: Bool[np.ndarray, "h w"]) -> float:
    """Mean absolute difference over the region, on the scale of 0 to 255; NaN for an empty region."""
    return float(np.abs(new[region].astype(np.float64) - old[region]).mean()) if region.any() else float("nan")


def erode_px(mask: Bool[np.ndarray, "h w"], width_px: float) -> Bool[np.ndarray, "h w"]:
    """The mask without a rim of the given width."""
    k = max(1, round(width_px))
    return (
        cv2.erode(
            mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * k + 1, 2 * k + 1)), borderValue=0
        )
        > 0
    )


def to_cielab(rgb: np.ndarray) -> Float[np.ndarray, "*s 3"]:
    """sRGB in [0, 1] to CIE L*a*b* under D65."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124564, 0.2126729, 0.0193339], [0.3575761, 0.7151522, 0.1191920],
                             [0.1804375, 0.0721750, 0.9503041]]) / (0.95047, 1.0, 1.08883)  # fmt: skip
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def color_error(a_lab: Float[np.ndarray, 3], b_lab: Float[np.ndarray, 3]) -> float:
    """CIE ΔE2000 of two L*a*b* colours (Sharma, Wu and Dalal 2005); 1 is about what can just be seen."""
    (l1, a1, b1), (l2, a2, b2) = (map(float, lab) for lab in (a_lab, b_lab))
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 1.5 - 0.5 * np.sqrt(c7 / (c7 + 25.0**7))
    c1, c2 = np.hypot(g * a1, b1), np.hypot(g * a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, g * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    dh = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    across = 0 if abs(h1 - h2) <= 180 else 180 if h1 + h2 < 360 else -180  # the shorter way round
    mean_h = h1 + h2 if c1 * c2 == 0 else (h1 + h2) / 2 + across
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * _cos(mean_h - 30)
        + 0.24 * _cos(2 * mean_h)
        + 0.32 * _cos(3 * mean_h + 6)
        - 0.2 * _cos(4 * mean_h - 63)
    )
    sl = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    sc, sh = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    turn = (
        -2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7)) * np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2))))
    )
    dl, dc, dh = (l2 - l1) / sl, (c2 - c1) / sc, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2)) / sh
    return float(np.sqrt(dl**2 + dc**2 + dh**2 + turn * dc * dh))


def _cos(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))
