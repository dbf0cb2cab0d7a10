import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import av
import cv2
import numpy as np
import pytest

from livepaste.devices.url import UrlSource
from livepaste.devices.video import write_video
from livepaste.errors import DeviceError

FRAMES, FPS = 20, 20
GREYS = [np.full((96, 128, 3), 10 * i, np.uint8) for i in range(FRAMES)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mp4", GREYS, Fraction(FPS), (128, 96))
    return tmp_path


@pytest.fixture
def site(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_recording_behind_a_url_is_played_at_its_own_pace_and_ends(site: str) -> None:
    source = UrlSource(f"{site}/clip.mp4", (1, 1), 1.0)
    assert (source.size_wh, source.fps) == ((128, 96), FPS)
    began = time.monotonic()
    frames = list(source)
    assert time.monotonic() - began > (FRAMES - 2) / FPS  # never faster than filmed
    assert [frame.index for frame in frames] == list(range(FRAMES))
    assert [round(frame.image.mean() / 10) for frame in frames] == list(range(FRAMES))
    assert (np.diff([float(frame.time) for frame in frames]) > 0).all()


def test_what_a_lossy_link_damaged_is_passed_over(site: str, folder: Path) -> None:
    """Not taken for the end of the connection, after which a recording would begin again."""
    path = folder / "clip.mp4"
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.dts is not None and p.pos][8]
    data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    greys = [round(frame.image.mean() / 10) for frame in UrlSource(f"{site}/clip.mp4", (1, 1), 1.0)]
    assert FRAMES - 3 <= len(greys) < FRAMES or greys == list(range(FRAMES))
    assert greys == sorted(greys)
    assert greys[-1] == FRAMES - 1


def test_a_stream_of_720_lines_keeps_its_colours(site: str, folder: Path) -> None:
    red = np.full((720, 1280, 3), (200, 40, 40), np.uint8)
    write_video(folder / "red.mp4", [red] * 2, Fraction(FPS), (1280, 720))
    frame = next(iter(UrlSource(f"{site}/red.mp4", (1, 1), 1.0)))
    assert np.abs(frame.image.astype(int) - red).max() <= 3  # by the matrix of smaller pictures: 17


def test_a_webcam_that_sends_pictures_by_http_is_live(tmp_path: Path) -> None:
    pictures = [cv2.imencode(".jpg", grey)[1].tobytes() for grey in GREYS[5:15]]

    class Webcam(BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for _ in range(4):  # as fast as they are read: 40 pictures would be 1.6 s at FFmpeg's 25 a second
                for data in pictures:
                    self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                    self.wfile.write(data + b"\r\n")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Webcam)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = UrlSource(f"http://127.0.0.1:{server.server_port}/video", (1, 1), 30.0)
        assert (source.size_wh, source.fps) == ((128, 96), 30.0)
        times = []
        for frame in source:  # an end is a break: it is looked for again
            times.append(float(frame.time))
            if frame.index == 60:
                source.close()
        assert times[30] - times[0] < 0.6
        assert len(times) == 61
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def broadcast(tmp_path: Path) -> bytes:
    """The greys as an MPEG transport stream."""
    path = tmp_path / "live.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 96, "yuv420p", 1
        for picture in GREYS:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_a_live_stream_that_breaks_off_is_looked_for_and_taken_up_again(
    broadcast: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(broadcast)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        source = UrlSource(f"tcp://127.0.0.1:{server.getsockname()[1]}", (1, 1), 1.0)
        frames = []
        for frame in source:
            frames.append(frame)
            if "is back" in caplog.text and len(frames) > FRAMES + 5:
                source.close()
        thread.join()
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert "broke off" in caplog.text


def test_a_stream_that_stays_away_is_looked_for_twice_a_second(site: str, monkeypatch) -> None:
    source = UrlSource(f"{site}/clip.mp4", (1, 1), 1.0)
    waits: list[float] = []
    closed = Mock(is_set=lambda: len(waits) >= 5, wait=waits.append)
    monkeypatch.setattr(source, "_closed", closed)
    monkeypatch.setattr(source, "_live", True)
    monkeypatch.setattr(source, "_images", Mock(side_effect=OSError("gone")))
    opened = Mock(side_effect=OSError("still gone"))
    monkeypatch.setattr(source, "_open", opened)
    assert list(source) == []
    assert waits == [0.5] * 5
    assert opened.call_count == 4  # after each wait but the last


def test_what_cannot_be_opened_is_one_line_without_the_password(site: str, tmp_path: Path) -> None:
    address = site.replace("//", "//me:secret@")
    with pytest.raises(
        DeviceError, match=r"cannot open http://127\.0\.0\.1:\d+/none\.mp4: .*; check the address"
    ) as told:
        UrlSource(f"{address}/none.mp4", (1, 1), 1.0)
    assert "secret" not in str(told.value)
    with pytest.raises(DeviceError, match="cannot open file://"):
        UrlSource((tmp_path / "none.mp4").as_uri(), (1, 1), 1.0)
