import numpy as np
import pytest

from pkdot.data.synthetic import faces
from pkdot.data.synthetic.faces import ACTION_UNITS, Scene, draw_identity, render_clip

SIZE = 32


def still(frames, shift=(0.0, 0.0), roll=0.0, light=(1.0, 0.0, 0.0)):
    return Scene(np.full(frames, roll), np.tile(shift, (frames, 1)), np.ones(frames), light)


def render(units, scene=None, seed=0, noise=0.0):
    identity = draw_identity(np.random.default_rng(seed))
    scene = still(len(units)) if scene is None else scene
    return render_clip(identity, units, scene, SIZE, noise, np.random.default_rng(1)).astype(int)


def one_unit(name):
    units = np.zeros((2, len(ACTION_UNITS)))
    units[1, ACTION_UNITS.index(name)] = 1.0
    return units


def test_a_clip_is_uint8_frames():
    clip = render_clip(
        draw_identity(np.random.default_rng(0)), np.zeros((3, 9)), still(3), SIZE, 5.0, np.random.default_rng(0)
    )
    assert clip.shape == (3, SIZE, SIZE, 3)
    assert clip.dtype == np.uint8


def test_frames_with_equal_controls_are_equal_and_people_differ():
    clip = render(np.zeros((2, 9)))
    assert (clip[0] == clip[1]).all()
    assert np.abs(clip - render(np.zeros((2, 9)), seed=1)).mean() > 10


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_each_action_unit_moves_its_half_of_the_face(name):
    neutral, moved = render(one_unit(name))
    change = np.abs(moved - neutral).sum(-1)
    upper, lower = change[: SIZE // 2].sum(), change[SIZE // 2 :].sum()
    if name in ("AU1", "AU4", "AU43"):
        assert upper > 300
        assert lower == 0
    elif name == "AU6":
        assert upper > 300
    else:
        assert lower > 300
        assert upper < lower / 5


def test_more_of_a_unit_changes_more():
    units = np.zeros((4, 9))
    units[:, ACTION_UNITS.index("AU25")] = [0.0, 0.3, 0.6, 1.0]
    clip = render(units)
    change = [np.abs(frame - clip[0]).sum() for frame in clip]
    assert change == sorted(change)
    assert len(set(change)) == 4


def test_shifting_the_head_moves_the_picture_by_as_many_pixels():
    plain = render(np.zeros((1, 9)))[0]
    moved = render(np.zeros((1, 9)), still(1, shift=(4 / SIZE, -6 / SIZE)))[0]
    inner = slice(4, -4)
    assert np.abs(np.roll(plain, (-3, 2), (0, 1))[inner, inner] - moved[inner, inner]).max() <= 1


def test_light_brightens_and_slopes():
    dark = render(np.zeros((1, 9)), still(1, light=(0.5, 0.0, 0.0)))
    assert np.abs(2 * dark - render(np.zeros((1, 9)))).max() <= 2
    sloped = render(np.zeros((1, 9)), still(1, light=(0.8, 0.2, 0.0)))[0]
    assert sloped[:, -4:].mean() > sloped[:, :4].mean() + 5


def test_noise_is_bounded_and_centred():
    noisy, clean = render(np.zeros((4, 9)), noise=8.0), render(np.zeros((4, 9)))
    inside = (clean > 20) & (clean < 235)
    difference = (noisy - clean)[inside]
    assert np.abs(difference).max() <= 9
    assert abs(difference.mean()) < 0.6
    assert abs(difference.std() - 8 / np.sqrt(3)) < 0.5


def test_painting_only_the_window_of_a_shape_changes_no_pixel(monkeypatch):
    units = np.random.default_rng(3).uniform(0, 1, (5, 9))
    scene = Scene(
        np.linspace(-0.4, 0.4, 5), np.linspace(-0.3, 0.3, 10).reshape(5, 2), np.linspace(0.8, 1.2, 5), (1, 0, 0)
    )
    windowed = render(units, scene)
    monkeypatch.setattr(faces._Canvas, "_window", lambda *_: (slice(None), slice(None), slice(None)))
    assert (windowed == render(units, scene)).all()


def test_pixels_are_computed_in_float32_alone(monkeypatch):
    seen = set()
    paint = faces._Canvas._paint

    def spy(canvas, window, distance, colour, opacity):
        seen.update(np.asarray(v).dtype for v in (distance, colour, opacity) if not isinstance(v, float))
        paint(canvas, window, distance, colour, opacity)

    monkeypatch.setattr(faces._Canvas, "_paint", spy)
    render(np.full((2, 9), 0.5))
    assert seen == {np.dtype(np.float32)}
