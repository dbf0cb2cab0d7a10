import numpy as np
import pytest

from livepaste.align import CENTER, OUTLINE, align, crop, fit_similarity, mean_mesh, pose_degrees, transform


def test_a_similarity_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 2))
    angle, scale = 0.4, 2.5
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = fit_similarity(a, a @ linear.T + [3, -7])
    np.testing.assert_allclose(found, np.column_stack([linear, [3, -7]]), atol=1e-9)


def test_the_crop_is_centred_on_the_template_and_as_wide_as_asked() -> None:
    points = mean_mesh().points_xyz * [100, 100, 100] + [300, 200, 0]  # 100 px a template unit
    alignment = align(points, 220, 2.2)
    centre = np.array([[300 + 100 * CENTER[0], 200 + 100 * CENTER[1]]], np.float32)
    np.testing.assert_allclose(transform(centre, alignment.frame_to_crop), [[109.5, 109.5]], atol=1e-3)
    assert alignment.scale == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(
        transform(transform(centre, alignment.frame_to_crop), alignment.crop_to_frame), centre, atol=1e-3
    )


def test_speech_does_not_move_the_crop() -> None:
    points = mean_mesh().points_xyz.copy()
    spoken = points.copy()
    spoken[[13, 14, 17, 61, 291, 152, 176, 400]] += 0.2
    np.testing.assert_array_equal(align(points, 100).frame_to_crop, align(spoken, 100).frame_to_crop)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(25, 0, 0), (0, 15, 0), (0, 0, -20), (-30, 10, 5)])
def test_pose_is_read_from_the_points(yaw: float, pitch: float, roll: float) -> None:
    from livepaste.actors.motion import rotation

    turned = mean_mesh().points_xyz @ rotation(yaw, pitch, roll).T
    np.testing.assert_allclose(pose_degrees(turned), (yaw, pitch, roll), atol=3.0 if pitch and yaw else 1e-3)


def test_a_nose_turned_to_the_pictures_left_is_positive_yaw_and_a_lowered_one_positive_pitch() -> None:
    from livepaste.actors.motion import rotation

    mesh = mean_mesh().points_xyz
    left, down = mesh @ rotation(20, 0, 0).T, mesh @ rotation(0, 20, 0).T
    ear_to_ear = [234, 454]
    assert left[1, 0] - left[ear_to_ear, 0].mean() < mesh[1, 0] - mesh[ear_to_ear, 0].mean()
    assert down[1, 1] - down[ear_to_ear, 1].mean() > mesh[1, 1] - mesh[ear_to_ear, 1].mean()


def test_a_large_face_is_averaged_not_sampled() -> None:
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255  # linear sampling at a tenth of the size would keep stripes or drop them
    points = mean_mesh().points_xyz * 400 + [200, 250, 0]
    small = crop(stripes, align(points, 64, 2.2))
    assert abs(float(small[16:-16, 16:-16].mean()) - 127.5) < 3
    assert small[16:-16, 16:-16].std() < 12


def test_the_mesh_is_symmetric_and_its_outline_closed() -> None:
    mesh = mean_mesh()
    mirrored = mesh.points_xyz[mesh.mirror] * [-1, 1, 1] + [1, 0, 0]
    np.testing.assert_allclose(mirrored, mesh.points_xyz, atol=1e-4)
    assert len(set(OUTLINE)) == len(OUTLINE) == 36
