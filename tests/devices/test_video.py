import errno
import os
import re
import struct
import subprocess
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from livepaste.devices import video_write
from livepaste.devices.video import SYNTHETIC_SOURCE_TYPE, ClipReader, ClipWriter, write_video
from livepaste.errors import ClipError, OptionError

SIZE = (160, 96)
SOUND = (0.3 * np.sin(np.arange(96_000) * 0.05)).astype(np.float32)  # 2 s


def picture(i, size_wh=SIZE):
    """A smooth picture that says which frame it is: red grows by 4 a frame."""
    ramp = np.linspace(40, 200, size_wh[0] * size_wh[1]).reshape(size_wh[1], size_wh[0])
    return np.dstack([np.full_like(ramp, 20 + 4 * i), ramp, 255 - ramp]).astype(np.uint8)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "in.mp4"
    write_video(path, (picture(i) for i in range(50)), Fraction(25), SIZE, SOUND)
    return path


def vfr(path, times, *, rotate=0, color=None, codec="libx264"):
    """A clip whose frames are shown at the given ticks of 1/600 s."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, options={"crf": "10"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 600)
        if color:
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = color
        if rotate:
            stream.set_display_rotation(rotate)
        for i, t in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = t, Fraction(1, 600)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def sound_packets(path, track=0):
    with av.open(str(path)) as container:
        packets = container.demux(audio=track)
        return [(p.stream_index, p.pts * p.time_base, bytes(p)) for p in packets if p.dts is not None]


def rewrite(source, target, **kwargs):
    with ClipReader(source) as reader, ClipWriter(target, reader, **kwargs) as writer:
        for frame in reader.frames(skip=writer.resume_at):
            writer.write(frame.image, frame.time)
    return target


def times_of(path):
    with ClipReader(path) as reader:
        return [frame.time for frame in reader]


def test_what_is_written_is_read(clip):
    with ClipReader(clip) as reader:
        assert (reader.size_wh, reader.rate, reader.frames_estimate) == (SIZE, 25, 50)
        assert reader.has_audio
        assert reader.duration_s == pytest.approx(2)
        found = list(reader)
    assert [f.time for f in found] == [Fraction(i, 25) for i in range(50)]
    assert [f.index for f in found] == list(range(50))
    for i in (0, 20, 49):
        assert np.abs(found[i].image.astype(int) - picture(i)).mean() < 2
        assert abs(found[i].image.astype(int).mean() - picture(i).mean()) < 0.5  # no shift of colour
    assert reader.damaged_frames == 0
    assert not clip.with_name("in.mp4.part").exists()


def test_fractional_rate_is_exact(tmp_path):
    write_video(tmp_path / "a.mp4", (picture(i) for i in range(5)), Fraction(30_000, 1001), SIZE)
    assert times_of(tmp_path / "a.mp4") == [Fraction(1001 * i, 30_000) for i in range(5)]


def test_odd_size_is_kept(tmp_path):
    write_video(tmp_path / "a.mp4", (picture(i, (161, 95)) for i in range(3)), Fraction(25), (161, 95))
    with ClipReader(tmp_path / "a.mp4") as reader:
        assert next(iter(reader)).image.shape == (95, 161, 3)


def test_skipping_gives_the_same_frames(clip):
    with ClipReader(clip) as reader:
        late = list(reader.frames(skip=40))
    assert [f.index for f in late] == list(range(40, 50))
    assert late[0].time == Fraction(40, 25)


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".nut"])
def test_variable_rate_and_sound_are_kept_exactly(tmp_path, ending):
    ticks = [0, 20, 41, 100, 101, 400, 420, 700, 701, 1100]
    vfr(tmp_path / "vfr.mov", ticks)
    out = rewrite(tmp_path / "vfr.mov", tmp_path / f"out{ending}", segment=4)
    assert times_of(out) == [Fraction(t, 600) for t in ticks]


@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_a_first_frame_between_two_milliseconds_is_kept_there(tmp_path, ending):
    """Where a track begins is told in a unit of the file's own, a millisecond if nobody asks."""
    vfr(tmp_path / "late.nut", [41, 61, 100])
    times = times_of(tmp_path / "late.nut")
    assert times[0] > 0
    assert times[0] * 1000 % 1  # the encoder has moved them all by the same
    assert times_of(rewrite(tmp_path / "late.nut", tmp_path / f"out{ending}")) == times


def test_sound_is_copied_untouched_beside_the_pictures(clip, tmp_path):
    out = rewrite(clip, tmp_path / "out.mp4", segment=7)
    assert sound_packets(out) == sound_packets(clip)
    assert times_of(out) == times_of(clip)


def test_every_sound_track_and_its_language(clip, tmp_path):
    two = tmp_path / "two.mkv"
    with av.open(str(clip)) as source, av.open(str(two), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0], opaque=True)
        tracks = [out.add_stream_from_template(source.streams.audio[0], opaque=True) for _ in range(2)]
        tracks[0].metadata["language"], tracks[1].metadata["language"] = "eng", "deu"
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.stream = video
                out.mux(packet)
            else:
                for track in tracks:  # the second holds other bytes: nobody decodes them
                    again = av.Packet(bytes(packet)[:: 1 if track is tracks[0] else -1])
                    again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                    again.stream = track
                    out.mux(again)
    rewrite(two, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [s.language for s in container.streams.audio] == ["eng", "deu"]
    for track in range(2):
        assert sound_packets(tmp_path / "out.mkv", track) == sound_packets(two, track)
    assert sound_packets(two, 0)[50][2] == sound_packets(two, 1)[50][2][::-1]


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_rotation_is_applied_and_gone(tmp_path, degrees):
    vfr(tmp_path / "turned.mp4", range(0, 100, 20), rotate=degrees)
    with ClipReader(tmp_path / "turned.mp4") as reader:
        image = next(iter(reader)).image
    upright = np.rot90(picture(0), degrees // 90)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 3
    rewrite(tmp_path / "turned.mp4", tmp_path / "out.mp4")
    with ClipReader(tmp_path / "out.mp4") as reader:
        assert (reader.rotation, reader.size_wh) == (0, (upright.shape[1], upright.shape[0]))
        assert np.abs(next(iter(reader)).image.astype(int) - image).mean() < 3


@pytest.mark.parametrize("tags", [(1, 1, 1, 1), (5, 5, 6, 1), (1, 1, 13, 2)])
def test_colour_tags_are_carried_and_colours_stay(tmp_path, tags):
    vfr(tmp_path / "in.mp4", range(0, 100, 20), color=tags)
    rewrite(tmp_path / "in.mp4", tmp_path / "out.mp4", crf=4)
    with ClipReader(tmp_path / "in.mp4") as a, ClipReader(tmp_path / "out.mp4") as b:
        assert a.color == b.color
        assert (b.color.matrix, b.color.primaries, b.color.transfer, 1 + b.color.full_range) == tags
        difference = next(iter(a)).image.astype(int) - next(iter(b)).image
    assert np.abs(difference.mean((0, 1))).max() < 1.2  # a wrong matrix or range is off by 8 and more


def test_marked_as_synthetic_unless_asked_otherwise(clip, tmp_path):
    out = rewrite(clip, tmp_path / "out.mp4")
    with ClipReader(out) as reader:
        assert "synthetic" in reader.metadata["comment"].lower()
    data = out.read_bytes()
    box = data.index(b"uuid") - 4
    assert box + struct.unpack(">I", data[box : box + 4])[0] == len(data)
    assert SYNTHETIC_SOURCE_TYPE.encode() in data[box:]
    moved = rewrite(clip, tmp_path / "out.mov")
    assert moved.read_bytes().endswith(data[box:])
    assert times_of(moved) == times_of(clip)  # players pass over the box
    with ClipReader(rewrite(clip, tmp_path / "out.mkv")) as reader:
        assert reader.metadata["DIGITAL_SOURCE_TYPE"] == SYNTHETIC_SOURCE_TYPE
    assert SYNTHETIC_SOURCE_TYPE.encode() not in rewrite(clip, tmp_path / "plain.mp4", mark=False).read_bytes()


def test_killed_run_goes_on_by_segment(clip, tmp_path):
    # VP9: about one of x264's encodings in a hundred differs by some bytes from another one of the same pictures
    how = {"segment": 8, "codec": "vp9"}
    whole = rewrite(clip, tmp_path / "whole.mp4", **how)
    target = tmp_path / "out.mp4"
    with ClipReader(clip) as reader:
        writer = ClipWriter(target, reader, key="k", **how)
        for frame in list(reader.frames())[:29]:
            writer.write(frame.image, frame.time)
        writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not target.exists()
    with ClipReader(clip) as reader:
        again = ClipWriter(target, reader, key="k", resume=True, **how)
        again.close()
        assert again.resume_at == 24
    rewrite(clip, target, key="k", resume=True, **how)
    assert target.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_leftovers_of_other_work_are_neither_taken_up_nor_lost(clip, tmp_path):
    with ClipReader(clip) as reader:
        frames = list(reader.frames())
        writer = ClipWriter(tmp_path / "out.mp4", reader, segment=2, key="a", resume=True)
        assert writer.resume_at == 0
        for frame in frames[:5]:
            writer.write(frame.image, frame.time)
        with pytest.raises(ClipError, match="is being written by another run"):
            ClipWriter(tmp_path / "out.mp4", reader, segment=2, key="a", overwrite=True)
        writer.close()

        def taken_up(**how: object) -> int:
            writer = ClipWriter(tmp_path / "out.mp4", reader, segment=2, **how)
            writer.close()
            return writer.resume_at

        with pytest.raises(ClipError, match="begun with another input, model, options or version"):
            taken_up(key="b", resume=True)
        for key in ("a", "b"):
            with pytest.raises(
                ClipError, match="4 frames of it are there from a run that did not end; go on with --resume"
            ):
                taken_up(key=key)
        assert taken_up(key="a", resume=True) == 4
        assert taken_up(key="b", overwrite=True) == 0
        assert taken_up(key="a", resume=True) == 0  # the others are gone, as was asked


def test_segments_of_another_encoder_are_not_joined_with_its(clip, tmp_path, monkeypatch):
    """A version that encodes otherwise would make a clip of which half cannot be decoded."""
    with ClipReader(clip) as reader:
        writer = ClipWriter(tmp_path / "out.mp4", reader, segment=2)
        for frame in list(reader.frames())[:3]:
            writer.write(frame.image, frame.time)
        writer.close()
        monkeypatch.setitem(video_write.ENCODERS, "h264", ("libx264", {"preset": "fast"}))
        with pytest.raises(ClipError, match="another input, model, options or version"):
            ClipWriter(tmp_path / "out.mp4", reader, segment=2, resume=True)


def test_a_sound_track_of_an_unknown_codec_is_left_out_and_said(clip, tmp_path):
    rewrite(clip, tmp_path / "known.mkv")
    strange = tmp_path / "strange.mkv"
    strange.write_bytes((tmp_path / "known.mkv").read_bytes().replace(b"A_AAC", b"A_QQQ"))
    with ClipReader(strange) as reader, ClipWriter(tmp_path / "out.mkv", reader) as writer:
        assert writer.left_out == ["1 unreadable sound track"]
        for frame in reader.frames():
            writer.write(frame.image, frame.time)
    assert times_of(tmp_path / "out.mkv") == times_of(strange)


def test_subtitles_are_kept_where_the_container_holds_them(clip, tmp_path):
    lines = tmp_path / "lines.srt"
    lines.write_text(
        "1\n00:00:00,200 --> 00:00:01,900\nHello\n\n2\n00:00:01,000 --> 00:00:01,500\nyou\n"
    )  # the two overlap
    film = tmp_path / "film.mkv"
    with av.open(str(clip)) as source, av.open(str(lines)) as said, av.open(str(film), "w") as out:
        tracks = [(s, out.add_stream_from_template(s, opaque=True)) for s in (*source.streams, said.streams[0])]
        tracks[-1][1].metadata["language"] = "nld"
        for stream, track in tracks:
            for packet in (source if stream in source.streams else said).demux(stream):
                if packet.dts is not None:
                    packet.stream = track
                    out.mux(packet)
            if stream in source.streams:
                source.seek(0)

    def subtitles(path):
        with av.open(str(path)) as container:
            (track,) = container.streams.subtitles
            assert track.language == "nld"
            return [(bytes(p), p.pts * p.time_base, p.duration * p.time_base) for p in container.demux(track) if p.size]

    rewrite(film, tmp_path / "out.mkv")
    assert subtitles(tmp_path / "out.mkv") == subtitles(film)
    assert [text for text, _, _ in subtitles(film)] == [b"Hello", b"you"]
    with ClipReader(film) as reader, ClipWriter(tmp_path / "out.mp4", reader) as writer:
        assert writer.left_out == ["1 subtitle track"]
        for frame in reader.frames():
            writer.write(frame.image, frame.time)
    assert times_of(tmp_path / "out.mp4") == times_of(film)


def test_a_matroska_file_that_was_cut_off_says_so(clip, tmp_path):
    whole = rewrite(clip, tmp_path / "whole.mkv")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    told = []
    for path in (whole, cut):
        with ClipReader(path) as reader:
            list(reader.frames())
            told.append(reader.cut_short)
    assert told[0] == ""
    assert re.match(r"cut\.mkv: ends after [\d.]+ of 2\.0 s; is it complete\?", told[1])


ENDS_AT_A_FULL_DISK = """
import resource, signal, sys, time
import numpy as np
from livepaste.devices.playback import ClipSink
from livepaste.types import Mark
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
sink, rng = ClipSink(sys.argv[1], (160, 96), 30.0), np.random.default_rng(1)
try:
    for _ in range(600):
        sink.send(rng.integers(0, 256, (96, 160, 3)).astype(np.uint8), Mark.SWAPPED)
        time.sleep(0.005)
    sink.close()
except Exception as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="a limit on files' sizes stands for the full disk")
def test_a_recording_that_cannot_go_on_keeps_what_it_has(tmp_path):
    out = tmp_path / "out.mp4"
    done = subprocess.run(
        [sys.executable, "-c", ENDS_AT_A_FULL_DISK, str(out)], capture_output=True, text=True, check=True
    )
    assert "what was written before is kept" in done.stdout
    with ClipReader(out) as reader:
        assert sum(1 for _ in reader.frames()) > 5
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("fails", ["settle", "append_xmp"])
def test_a_recording_whose_end_fails_keeps_what_it_has(tmp_path, monkeypatch, fails):
    """A network folder says that it is full when the file is closed."""

    def full(*words):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(video_write, fails, full)
    out = tmp_path / "out.mp4"
    with pytest.raises(ClipError, match=r"cannot be written \(.*quota.*\); what was written before is kept"):
        write_video(out, (picture(i) for i in range(10)), Fraction(25), SIZE, mark=True, keep=True)
    with ClipReader(out) as reader:
        assert len(list(reader.frames())) == 10
    with pytest.raises(ClipError, match="cannot be written"):
        write_video(tmp_path / "other.mp4", [picture(0)], Fraction(25), SIZE, mark=True)

    def damaged():
        yield picture(0)
        raise ClipError("in.mp4: cannot be read")

    with pytest.raises(ClipError, match=r"^in\.mp4: cannot be read$"):  # of where the frames come from
        write_video(tmp_path / "other.mp4", damaged(), Fraction(25), SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_sound_whose_times_start_anew_goes_on_with_the_pictures(tmp_path):
    """Two recordings of a camcorder, joined as files."""
    part, joined = tmp_path / "part.ts", tmp_path / "joined.ts"
    short = SOUND[: len(SOUND) * 3 // 4]  # ends half a second before the pictures
    with av.open(str(part), "w", format="mpegts") as out:
        video, sound = out.add_stream("libx264", rate=25), out.add_stream("aac", rate=48_000, layout="mono")
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        for i in range(50):
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture(i), "rgb24").reformat(format="yuv420p")))
        frame = av.AudioFrame.from_ndarray(short[None], "fltp", "mono")
        frame.sample_rate = 48_000
        out.mux(sound.encode(frame))
        for stream in (video, sound):
            out.mux(stream.encode(None))
    joined.write_bytes(part.read_bytes() * 3)
    made = rewrite(joined, tmp_path / "out.mp4")
    times = times_of(made)
    assert len(times) == 150
    packets, before = sound_packets(made), sound_packets(joined)
    assert [data for _, _, data in packets] == [data[7:] for _, _, data in before]  # ADTS headers are the stream's own
    starts = [float(time) for _, time, _ in packets]
    assert (np.diff(starts) > 0).all()
    for nth in (1, 2):  # still beside its pictures
        begins = starts[len(starts) * nth // 3] - starts[0]
        assert begins == pytest.approx(float(times[50 * nth] - times[0]), abs=0.03)


def test_pts_and_time_base_say_the_same_as_a_time(clip, tmp_path):
    with ClipReader(clip) as reader, ClipWriter(tmp_path / "out.mp4", reader) as writer:
        for frame in reader.frames():
            writer.write(frame.image, frame.time * 12_800, Fraction(1, 12_800))
    assert times_of(tmp_path / "out.mp4") == times_of(clip)


@pytest.mark.parametrize(
    ("name", "codec", "message"),
    [
        ("out.webm", "vp9", r"\.webm cannot hold sound track 0 \(aac\); \.mp4 can"),
        ("out.webm", "h264", r"\.webm cannot hold h264 pictures; \.mp4 can"),
        ("out.avi", "h264", r"cannot write \.avi; use one of \.mp4"),
        ("nowhere/out.mp4", "h264", "there is no folder"),
        ("in.mp4", "h264", "output and input are the same file"),
    ],
)
def test_refused_before_work(clip, tmp_path, name, codec, message):
    with ClipReader(clip) as reader, pytest.raises(ClipError, match=message):
        ClipWriter(tmp_path / name, reader, codec=codec)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_unknown_codec_lists_the_known(clip, tmp_path):
    with ClipReader(clip) as reader, pytest.raises(OptionError, match="unknown codec 'divx'; known: h264"):
        ClipWriter(tmp_path / "out.mp4", reader, codec="divx")


def test_wrong_frame_size(clip, tmp_path):
    with ClipReader(clip) as reader, pytest.raises(ValueError, match=r"frame must be \(96, 160, 3\)"):  # noqa: SIM117
        with ClipWriter(tmp_path / "out.mp4", reader) as writer:
            writer.write(np.zeros((10, 10, 3), np.uint8), 0)


def test_a_frame_with_the_time_of_the_one_before_is_left_out_and_not_called_damaged(clip, monkeypatch):
    real = ClipReader._time

    def rounded(self, decoded, last, shift):
        return Fraction(int(real(self, decoded, last, shift) * 15), 15)  # two of five fall together

    monkeypatch.setattr(ClipReader, "_time", rounded)
    with ClipReader(clip) as reader:
        times = [frame.time for frame in reader]
    assert times == [Fraction(i, 15) for i in range(30)]
    assert (reader.repeated_frames, reader.damaged_frames, reader.cut_short) == (20, 0, "")


def test_damage_in_the_middle_is_skipped_and_counted(clip):
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packets = [p for p in container.demux(video=0) if p.dts is not None and p.pos]
    hit = packets[20:23]
    for packet in hit:
        data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    clip.write_bytes(data)
    with ClipReader(clip) as reader:
        found = list(reader)
    assert reader.damaged_frames >= 1
    assert 40 <= len(found) < 50
    assert found[-1].time == Fraction(49, 25)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty file"), (b"not a clip at all" * 50, "cannot be read as a clip"), (None, "no such file")],
)
def test_unreadable_clip_is_one_line(tmp_path, content, message):
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClipError, match=message) as caught:
        ClipReader(path)
    assert "\n" not in str(caught.value)


def test_truncated_clip(clip):
    clip.write_bytes(clip.read_bytes()[:2000])  # its index, at the end, is gone
    with pytest.raises(ClipError, match="is it complete"):
        ClipReader(clip)


def test_a_clip_cut_off_behind_its_index_says_so_at_its_end(clip, tmp_path):
    with (
        av.open(str(clip)) as source,
        av.open(str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}) as out,
    ):
        track = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    whole = (tmp_path / "front.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    with ClipReader(tmp_path / "front.mp4") as reader:
        assert sum(1 for _ in reader) == 50
        assert reader.cut_short == ""
    with ClipReader(tmp_path / "half.mp4") as reader:
        count = sum(1 for _ in reader)
        assert 5 < count < 45
        assert reader.cut_short == f"half.mp4: ends after {count} of 50 frames; is it complete?"


def test_tracks_that_are_not_copied_are_named(tmp_path):
    with av.open(str(tmp_path / "two.mkv"), "w") as out:
        tracks = [out.add_stream("libx264", rate=25) for _ in range(2)]
        for track in tracks:
            track.width, track.height, track.pix_fmt = *SIZE, "yuv420p"
        for track in tracks:
            for i in range(3):
                frame = av.VideoFrame.from_ndarray(picture(i), "rgb24")
                out.mux(track.encode(frame))
            out.mux(track.encode(None))
    with ClipReader(tmp_path / "two.mkv") as reader:
        writer = ClipWriter(tmp_path / "out.mkv", reader)
        assert writer.left_out == ["1 video track"]


def test_sound_alone_is_no_clip(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((SOUND[None] * 32767).astype(np.int16), "s16", "mono")
        frame.sample_rate = 48_000
        out.mux(stream.encode(frame))
    with pytest.raises(ClipError, match="holds no video track"):
        ClipReader(tmp_path / "a.wav")


def test_folder_is_no_clip(tmp_path):
    with pytest.raises(ClipError, match="a folder; name the clips in it"):
        ClipReader(tmp_path)


def test_failed_writing_leaves_nothing(tmp_path):
    def frames():
        yield picture(0)
        raise RuntimeError("drawer failed")

    with pytest.raises(RuntimeError, match="drawer failed"):
        write_video(tmp_path / "a.mp4", frames(), Fraction(25), SIZE)
    assert not list(tmp_path.iterdir())


def test_pictures_are_seen_by_another_reader(clip):
    """OpenCV decodes what was written to the same colours."""
    capture = cv2.VideoCapture(str(clip))
    ok, image = capture.read()
    assert ok
    assert np.abs(image[..., ::-1].astype(int) - picture(0)).mean() < 4
