"""Pickles read as data: what arrays and plain values are made of comes out, everything else is refused and nothing runs."""

import collections
import os
import pickle
import random
import struct
import subprocess
import time
import tracemalloc
from contextlib import suppress
from datetime import date

import numpy as np
import pytest
from foreign_files import FaceType, SampleType, as_deepfacelab

from livepaste.errors import FaceSetError, HostileFileError, LivepasteError
from livepaste.pickled import read_pickled

ARRAYS = [
    np.arange(6, dtype=np.float64).reshape(2, 3), np.arange(6, dtype=np.float32).reshape(3, 2).T, np.zeros((0, 2), np.float32),
    np.arange(8, dtype=">i2").reshape(2, 2, 2), np.array([True, False]), np.frombuffer(b"\x89PNG\x00\xff", np.uint8), np.float16([1.5]),
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_and_arrays_come_out_as_pickle_itself_gives_them(protocol: int) -> None:
    value = {
        "none": None, "bools": [True, False], "ints": [0, -1, 255, 65536, 2**31, -(2**70)], "float": -1.5, "text": "é" * 300,
        "bytes": b"\x00\xff" * 200, "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "nested": {"polys": [{"type": 1}]},
        "scalars": [np.float64(0.5), np.int32(-7)], "long": list(range(2000)),
    }  # fmt: skip
    value["again"] = value["nested"]
    assert read_pickled(pickle.dumps(value, protocol), "x") == value
    arrays = ARRAYS if protocol > 2 else ARRAYS[:2] + ARRAYS[3:]  # no bytes at all are a call of `bytes` there
    made = read_pickled(pickle.dumps(arrays, protocol), "x")
    for array, original in zip(made, arrays, strict=True):
        assert array.dtype == original.dtype
        np.testing.assert_array_equal(array, original)
    twice = read_pickled(pickle.dumps([ARRAYS[0], ARRAYS[0]], protocol), "x")
    np.testing.assert_array_equal(twice[1], ARRAYS[0])


def test_arrays_of_before_numpy_2() -> None:
    data = pickle.dumps({"mat": ARRAYS[0]}, 3)
    old = data.replace(b"cnumpy._core.", b"cnumpy.core.")
    assert old != data or b"cnumpy.core." in data
    np.testing.assert_array_equal(read_pickled(old, "x")["mat"], ARRAYS[0])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_deepfacelabs_enumerations_are_whole_numbers(protocol: int) -> None:
    with as_deepfacelab():
        data = pickle.dumps([SampleType.FACE, FaceType.WHOLE_FACE, FaceType.FULL], protocol)
    made = read_pickled(data, "x")
    assert made == [1, 4, 2]
    assert {type(number) for number in made} == {int}


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def running(marker) -> dict[str, tuple[bytes, str]]:
    """Payloads that make the file ``marker`` when Python unpickles them, and what of each must be named."""
    touch = f"touch '{marker}'"
    made = {f"os.system, protocol {p}": (pickle.dumps(Calls(os.system, touch), p), r"posix\.system") for p in range(6)}
    made["inside a face"] = pickle.dumps({"landmarks": [[1.0, 2.0]], "x": [Calls(os.system, touch)]}), r"posix\.system"
    made["eval"] = pickle.dumps(Calls(eval, f"open({str(marker)!r}, 'w').close()")), r"builtins\.eval"
    made["exec"] = pickle.dumps(Calls(exec, f"open({str(marker)!r}, 'w').close()")), r"builtins\.exec"
    made["open"] = pickle.dumps(Calls(open, str(marker), "w")), r"_?io\.open"
    made["getattr"] = pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system")), r"builtins\.getattr"
    made["subprocess"] = pickle.dumps(Calls(subprocess.getoutput, touch)), r"subprocess\.getoutput"
    made["GLOBAL, REDUCE"] = b"cbuiltins\neval\n(S\"open('%s', 'w')\"\ntR." % os.fsencode(marker), r"builtins\.eval"
    made["INST"] = b'(S"%s"\nios\nsystem\n.' % touch.encode(), "STRING"
    text = b"X" + struct.pack("<I", len(touch)) + touch.encode()
    made["INST of protocol 1"] = b"(" + text + b"ios\nsystem\n.", r"INST for os\.system"
    made["OBJ"] = b"(cos\nsystem\n" + text + b"o.", r"os\.system"
    made["NEWOBJ"] = b"\x80\x02csubprocess\nPopen\n" + text + b"\x85\x81.", r"subprocess\.Popen"
    made["NEWOBJ_EX"] = b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text + b"\x85}\x92.", r"os\.system"
    made["STACK_GLOBAL, its name from the memo"] = (
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93" + text + b"\x85R.",
        r"os\.system",
    )
    made["a class of numpy's that runs"] = (
        b"\x80\x02cnumpy.testing._private.utils\nrunstring\n" + text + b"}\x86R.",
        "runstring",
    )
    made["a subclass for an array"] = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\nK\x00\x85C\x01b\x87R.",
        r"os\.system",
    )
    return made  # fmt: skip


@pytest.mark.parametrize("name", list(running("x")))
def test_what_would_run_is_named_and_does_not(name: str, tmp_path) -> None:
    marker = tmp_path / "ran"
    payload, named = running(marker)[name]
    with pytest.raises(HostileFileError, match=rf"^set/a\.jpg: .*{named}.*nothing was run") as caught:
        read_pickled(payload, "set/a.jpg")
    assert isinstance(caught.value, FaceSetError | LivepasteError)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["os.system, protocol 0", "os.system, protocol 4", "inside a face", "eval", "INST", "OBJ"]
)
def test_these_payloads_are_real(name: str, tmp_path) -> None:
    """Python's own reader runs them: a test of the test."""
    pickle.loads(running(tmp_path / "ran")[name][0])
    assert (tmp_path / "ran").exists()


DTYPE = b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps(date(2020, 1, 1)), r"asks for datetime\.date"),
        (pickle.dumps(collections.OrderedDict(a=1)), r"asks for collections\.OrderedDict"),
        (pickle.dumps({1, 2}, 4), "instruction EMPTY_SET"),
        (b"\x80\x02P1\n.", "instruction PERSID"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
        (DTYPE + b"}b.", "sets the state of an object"),  # BUILD by a dict
        (b"\x80\x02}K\x01K\x02\x86b.", "sets the state of an object"),  # of what is no array
        (b"\x80\x02X\x02\x00\x00\x00os)R.", "calls something that is not named by it"),
        (b"\x80\x04K\x01K\x02\x93.", "asks for something that it does not name by text"),
        (b"\x80\x04\x8c\x06a\x1b[2Jb\x8c\x01c\x93.", r"asks for a\?\[2Jb\.c, which"),
        (b"\x80\x02cx\n" + b"y" * 500 + b"\n.", r"asks for x\.y{75}\.\.\., which"),
    ],
)
def test_other_wishes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(HostileFileError, match=message):
        read_pickled(data, "a.jpg")


def told_array(shape: bytes, content: bytes) -> bytes:
    """An array whose shape and content are said to be these."""
    return (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
        + shape
        + DTYPE[2:]
        + b"\x89"
        + content
        + b"tb."
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged"),
        (b"\xff\xfe\x00", "damaged"),
        (b"\x80\x09N.", "protocol 9"),
        (b"\x80\x02NN.", "does not end in one value"),
        (b"\x80\x02(.", "does not end in one value"),
        (b"\x80\x02h\x07.", "damaged"),  # what was never put
        (b"\x80\x02\x87.", "too little to make a tuple of"),
        (b"\x80\x02NNa.", "appends to what is no list"),
        (b"\x80\x02}K\x01Ns.", "no item by name"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.", "damaged"),  # BYTEARRAY8 of 4 exabytes
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.", "damaged"),
        (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.", "damaged"),  # LONG4
        (told_array(b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85", b"C\x08" + b"\0" * 8), "bytes are not those of its shape"),
        (told_array(b"J\xff\xff\xff\xff\x85", b"C\x08" + b"\0" * 8), "no array's shape"),
        (told_array(b"(K\x01K\x01K\x01K\x01K\x01t", b"C\x08" + b"\0" * 8), "no array's shape"),
        (told_array(b"K\x01\x85", b"N"), "no array of numbers"),
        (pickle.dumps(np.array([Calls(os.system, "true")], object)), "something other than numbers"),
        (pickle.dumps(np.zeros(2, [("a", "f8")])), "something other than numbers"),
        (pickle.dumps(np.array(["text"])), "something other than numbers"),
    ],
)
def test_damage_is_said_and_costs_nothing(data: bytes, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match=message) as caught:
        read_pickled(data, "a.jpg")
    assert not isinstance(caught.value, HostileFileError)
    assert time.monotonic() - began < 1


def test_bombs_are_small() -> None:
    """Lists of lists of one list, 2^200 leaves; a place in the memo beyond all memory; more instructions than any face set has."""
    laughs = b"\x80\x02](]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(200)) + b"e."
    assert len(read_pickled(laughs, "x")) == 201
    itself = read_pickled(b"\x80\x02]q\x00h\x00a.", "x")
    assert itself[0] is itself
    assert read_pickled(b"\x80\x02Nr\xff\xff\xff\xff.", "x") is None
    deep = read_pickled(b"\x80\x02" + b"]" * 30_000 + b"a" * 29_999 + b".", "x")
    assert len(deep) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("livepaste.pickled.MOST_INSTRUCTIONS", 1000)
        with pytest.raises(ValueError, match="more instructions than any face set has"):
            read_pickled(b"\x80\x02" + b"]" * 2000, "x")


@pytest.mark.parametrize("kind", ["text", "bytearray"])
def test_one_text_is_not_made_into_bytes_again_and_again(kind: str) -> None:
    size, calls = 20_000, 1000
    if kind == "text":
        begin = b"\x80\x04(c_codecs\nencode\nq\x00X" + struct.pack("<I", size) + b"a" * size + b"q\x01"
        again = b"h\x00h\x01\x8c\x06latin1\x86R"
    else:
        begin = (
            b"\x80\x05(cnumpy.core.numeric\n_frombuffer\nq\x00\x96" + struct.pack("<Q", size) + b"a" * size + b"q\x01"
        )
        begin += b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87Rq\x02"
        again = b"h\x00(h\x01h\x02J" + struct.pack("<i", size) + b"\x85X\x01\x00\x00\x00CtR"
    assert read_pickled(begin + again + b"t.", "x") is not None
    tracemalloc.start()
    with pytest.raises(ValueError, match="its calls make more bytes than it has"):
        read_pickled(begin + again * calls + b"t.", "x")
    assert tracemalloc.get_traced_memory()[1] < 6 * size + 200_000
    tracemalloc.stop()


def test_cut_anywhere_and_changed_at_random_it_ends_in_a_value_or_one_of_two_errors(tmp_path) -> None:
    marker = tmp_path / "ran"
    value = {
        "landmarks": [[1.5, 2.5]] * 4,
        "mat": ARRAYS[0],
        "polys": [{"type": 1, "pts": ARRAYS[1]}],
        "x": Calls(os.system, f"touch '{marker}'"),
    }
    rng = random.Random(0)
    for protocol in (2, 4, 5):
        good, bad = pickle.dumps({**value, "x": None}, protocol), pickle.dumps(value, protocol)
        for end in range(len(good)):
            with pytest.raises(ValueError, match=r"damaged|nothing was run"):
                read_pickled(good[:end], "x")
        for _ in range(1500):
            changed = bytearray(rng.choice((good, bad)))
            for _ in range(rng.randint(1, 4)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            with suppress(HostileFileError, ValueError):
                read_pickled(bytes(changed), "x")
    assert not marker.exists()
