"""The user's own data files with something wrong in them: each gives its numbers to the digit, or is refused in one line that names it."""

import codecs
import csv
import io
import os
import re
import signal
import struct
import tracemalloc

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from driftrates import datafiles, datasets, simulate
from driftrates.datafiles import read_table
from fuzzing import examples, outcome

TABLE = np.array([[0.5, -1.0], [1.5, 2e-3], [-2.0, 7.0], [0.1, 1e-300]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(autouse=True)
def in_time():
    """No file, pipe or device may hold a reader for long."""

    def late(*_):
        raise TimeoutError("still reading after two minutes")

    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def read(path, **keys):
    """(points, None) or (None, message) as the configuration gets them."""
    points, message = outcome(datasets.load, {"name": "file", "path": str(path), **keys}, seed=0)
    if message is None:
        assert points.dtype == np.float64 and points.ndim == 2 and len(points) >= 2 and np.isfinite(points).all()
    else:
        assert str(path.name) in message and message.startswith("data set 'file'"), message
    return points, message


finite = st.floats(-1e99, 1e99) | st.sampled_from([0.0, -0.0, 5e-324, 0.1, 2.0**53 + 2, 1e22, 123456789.123456789])
tables = st.integers(1, 4).flatmap(lambda d: st.lists(st.lists(finite, min_size=d, max_size=d), min_size=2, max_size=6))


@st.composite
def written(draw):
    """(points, text of a CSV file that holds them, keys)."""
    table = draw(tables)
    form = draw(st.sampled_from([repr, "{:.17g}".format, "{:.17e}".format, " {!r} ".format, "+{!r}".format]))
    rows = [[form(v) if "+" not in form(-1.0)[:1] or v >= 0 and str(v)[0] != "-" else repr(v) for v in row] for row in table]
    delimiter = draw(st.sampled_from([",", ";", "\t", "|", ":"]))
    header = draw(st.sampled_from([None, "=cmd|' /C calc'!A{}", "x{}", "# column {}", "a b,{}", 'say "{}"', "+{}a", "@SUM(1){}", "Ａ{}"]))
    stream = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\n\n"])), quoting=quoting)
    if header:
        writer.writerow([header.format(i) for i in range(len(table[0]))])
    writer.writerows(rows)
    return np.array(table), draw(st.sampled_from(["", "\ufeff"])) + stream.getvalue(), {"delimiter": delimiter}


@examples(200)
@given(written())
def test_csv_files_are_read_to_the_digit(folder, case):
    table, text, keys = case
    path = folder / "good.csv"
    path.write_text(text, newline="")
    points, message = read(path, **keys)
    assert message is None, message
    assert points.tobytes() == table.tobytes()


SNIPPETS = [
    "nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "", ",", ";", ",,", '"', "'", "\n", "\r", "\t", " ", "#", "# note\n", "=cmd()",
    "=1+1", "@x", "0x1f", "1_0", "1,0", "1 0", "１２", "−1", "1e", "1e5.5", "TRUE", "None", "NA", "\x00", "\ufeff", "\u2028", "\x1b[2J",
    "é", "1" * 400, "9" * 140000, "1j", "Infinity", "0b1", "010", "1.0f", "$5", "(3)", "5%", "1/2", "2020-01-01",
]  # fmt: skip
BYTES = [b"\xff", b"\xfe\xff", codecs.BOM_UTF16_LE, b"\xe9", b"\x80", b"\x1f\x8b\x08", b"\x89HDF", b"\x93NUMPY", b"PK\x03\x04", b"\x00" * 9]


@st.composite
def damaged_text(draw):
    content = draw(written())[1].encode()
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.integers(0, len(content)))
        piece = draw(st.sampled_from(SNIPPETS).map(str.encode) | st.sampled_from(BYTES))
        cut = draw(st.sampled_from([0, 0, 1, 5]))
        content = content[:i] + piece + content[i + cut :]
    return content


def plainly(content, delimiter):
    """The numbers of a file without quotes, split as simply as can be, and whether its first line was left out as a header."""
    lines = [
        line
        for line in re.split("\r\n|\r|\n", content.decode("utf-8-sig"))
        if line.strip(" \t" if delimiter != "\t" else " ") or delimiter in line
    ]
    cells = [line.split(delimiter) for line in lines]
    try:
        return np.array([[float(c) for c in row] for row in cells])
    except ValueError:
        return np.array([[float(c) for c in row] for row in cells[1:]])


@examples(300)
@given(damaged_text(), st.sampled_from([",", ";", "\t", "|"]))
def test_damaged_csv_files_are_read_as_they_stand_or_refused(folder, content, delimiter):
    path = folder / "damaged.csv"
    path.write_bytes(content)
    points, message = read(path, delimiter=delimiter)
    if message is None and b'"' not in content and not re.search("[\x0b\x0c\x1c-\x1e\x85\u2028]", content.decode()):
        np.testing.assert_array_equal(points, plainly(content, delimiter))


DTYPES = ["f8", ">f8", "f4", "f2", "i8", "i4", "<i2", "u1", "u8", ">u4", "longdouble"]


@examples(100)
@given(st.sampled_from(DTYPES), tables, st.booleans())
def test_numpy_files_are_read_to_the_digit(folder, dtype, table, fortran):
    kind = np.dtype(dtype)
    with np.errstate(all="ignore"):
        array = np.clip(np.array(table), -200, 200).astype(kind) if kind.kind == "f" else np.clip(np.abs(table), 0, 200).astype(kind)
    np.save(folder / "good.npy", np.asfortranarray(array) if fortran else array)
    points, message = read(folder / "good.npy")
    assert message is None, message
    assert points.tolist() == [[float(v) for v in row] for row in array.tolist()]


@examples(300)
@given(st.binary(max_size=4), st.integers(0, 200), st.sampled_from([0, 1, 3, 20, 10**6]), st.sampled_from(["f8", "i4", "O", "U3", "c16"]))
def test_damaged_numpy_files_are_read_or_refused(folder, piece, place, cut, dtype):
    stream = io.BytesIO()
    np.save(stream, TABLE.astype(dtype) if dtype != "O" else np.array([[1, 2.5]], object), allow_pickle=True)
    content = stream.getvalue()
    (folder / "damaged.npy").write_bytes(content[:place] + piece + content[place + cut :])
    points, message = read(folder / "damaged.npy")
    if message is None:
        np.testing.assert_array_equal(points, np.load(folder / "damaged.npy").reshape(points.shape))


DATA = TABLE.tobytes()


def npy(descr="'<f8'", shape="(4, 2)", data=DATA, version=b"\x01\x00"):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version[:1] == b"\x01" else "<I", len(header)) + header + data


NPY = {
    "long shape": (npy(shape="(1000000000000, 2)"), "at most"),
    "many columns": (npy(shape="(2, 1000000000000)"), "at most"),
    "shape that overflows": (npy(shape="(4294967296, 4294967296)"), "at most"),
    "negative shape": (npy(shape="(-1,)"), "not a plain array"),
    "shape of texts": (npy(shape="('4', 2)"), "not a plain array"),
    "shape that is code": (npy(shape="(__import__('os').abort(), 2)"), "not a plain array"),
    "type that is code": (npy(descr="__import__('os').abort()"), "not a plain array"),
    "type of objects": (npy(descr="'|O'"), "pickles are refused"),
    "objects in fields": (npy(descr="[('x', '|O'), ('y', '<f8')]"), "pickles are refused"),
    "fields": (npy(descr="[('x', '<f8'), ('y', '<f8')]", shape="(4,)"), "real numbers are needed"),
    "nested header": (npy(shape="(" * 3000 + "4" + ")" * 3000), "not a plain array"),
    "header of a megabyte": (npy(shape="(" + " " * 2**20 + "4, 2)", version=b"\x02\x00"), "not a plain array"),
    "version 3": (npy(version=b"\x03\x00"), "version"),
    "version 9": (npy(version=b"\x09\x00"), "not a plain array"),
    "cut data": (npy(data=TABLE.tobytes()[:-1]), "64 bytes of data by its header, but 63 bytes are there"),
    "more data": (npy(data=TABLE.tobytes() * 2), "64 bytes of data by its header, but 128 bytes are there"),
    "dates": (npy(descr="'<M8[s]'"), "real numbers are needed"),
    "truth values": (npy(descr="'|b1'", data=b"\1" * 8), "real numbers are needed"),
    "raw bytes": (npy(descr="'|V8'"), "real numbers are needed"),
    "zero size type": (npy(descr="'<U0'", data=b""), "real numbers are needed"),
    "whole numbers that would be rounded": (
        npy(descr="'<i8'", data=np.array([1, 2**53 + 1] * 4).tobytes()),
        "row 0, column 1 .*would round",
    ),
    "huge": (npy(data=(TABLE * 0 + 1e200).tobytes()), "a coordinate has the magnitude 1e\\+200"),
}


@pytest.mark.parametrize("case", NPY)
def test_numpy_files_made_by_hand_are_refused(case, tmp_path):
    content, expected = NPY[case]
    (tmp_path / "made.npy").write_bytes(content)
    tracemalloc.start()
    _, message = read(tmp_path / "made.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert re.search(expected, message), message
    assert peak < 2**26


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -(2**63) + 1, 2**62 + 2**8])
def test_whole_numbers_beyond_double_precision_are_refused(tmp_path, number):
    np.save(tmp_path / "a.npy", np.array([number, 0]))
    assert "would round" in read(tmp_path / "a.npy")[1]
    exact = [2**53, 2**62, -(2**63), 2**62 + 2**10, 3 * 2**60]
    np.save(tmp_path / "b.npy", np.array(exact))
    assert [int(v) for v in read(tmp_path / "b.npy")[0][:, 0]] == exact
    np.save(tmp_path / "c.npy", np.array([2**64 - 1, 0], np.uint64))
    assert "would round" in read(tmp_path / "c.npy")[1]
    np.save(tmp_path / "d.npy", np.array([2**64 - 2**11, 2**63], np.uint64))
    assert [int(v) for v in read(tmp_path / "d.npy")[0][:, 0]] == [2**64 - 2**11, 2**63]


def test_a_file_must_be_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "device.npy").symlink_to("/dev/zero")
    (tmp_path / "loop.nc").symlink_to(tmp_path / "loop.nc")
    (tmp_path / "nowhere.csv").symlink_to(tmp_path / "missing")
    (tmp_path / "folder.nc").mkdir()
    for name in ("pipe.csv", "device.npy", "loop.nc", "nowhere.csv", "folder.nc"):
        assert "there is no such file" in read(tmp_path / name)[1]
    np.save(tmp_path / "real.npy", TABLE)
    (tmp_path / "link.npy").symlink_to(tmp_path / "real.npy")
    assert read(tmp_path / "link.npy")[0].tobytes() == TABLE.tobytes()


@pytest.mark.parametrize(
    "name", ["../../../../etc/passwd", "/etc/passwd", "\x00.csv", "x" * 5000 + ".csv", "\ud800.csv", "/dev/zero", "~", ".csv", "-"]
)
def test_odd_names_of_files_are_refused(name):
    _, message = outcome(datasets.load, {"name": "file", "path": name}, seed=0)
    assert re.search("file .*(must end in|no such file)|path must be the name", message)


def test_other_text_files_stay_unread(tmp_path):
    (tmp_path / "users.csv").symlink_to("/etc/passwd")
    assert re.search("line [0-9]+|no rows", read(tmp_path / "users.csv")[1])


@pytest.mark.parametrize("delimiter", ["1", "e", ".", "+", "-", "", ",,", "\n", '"', "\x00", "\ud800", "é", 3, None, True])
def test_delimiters_that_numbers_hold_are_refused(tmp_path, delimiter):
    (tmp_path / "a.csv").write_text("1.5\n2.5\n")
    assert "delimiter must be one character" in read(tmp_path / "a.csv", delimiter=delimiter)[1]


def test_a_million_columns_and_a_long_file_take_seconds(tmp_path):
    wide = np.arange(2e6).reshape(2, -1)
    np.save(tmp_path / "wide.npy", wide)
    (tmp_path / "wide.csv").write_text("\n".join(",".join(map(str, row)) for row in wide.astype(int).tolist()))
    assert read(tmp_path / "wide.npy")[0].tobytes() == wide.tobytes()
    assert read(tmp_path / "wide.csv", columns=[999999])[0].tolist() == [[999999.0], [1999999.0]]
    (tmp_path / "long.csv").write_text("1,2\n" * 10**5 + "1,nan\n")
    assert "line 100001, column 1 holds 'nan'" in read(tmp_path / "long.csv")[1]


def dataset(values=TABLE, attributes=None, **encoding):
    return xr.Dataset({"points": (("particle", "component"), values, attributes or {})}), {"points": encoding} if encoding else {}


NETCDF = {
    "fill value": (*dataset(TABLE, _FillValue=0.5), "row 0, column 0 holds nan"),
    "packed": (*dataset(TABLE.round(1), dtype="i2", scale_factor=0.5, add_offset=1.0, _FillValue=-99), None),
    "whole numbers": (*dataset((TABLE * 2).astype("i4")), None),
    "no points": (*dataset(np.empty((0, 2))), "no rows of data"),
    "no components": (*dataset(np.empty((4, 0))), "no rows of data"),
    "truth values": (*dataset(TABLE > 0), "real numbers are needed"),
    "texts": (*dataset(np.array([["a", "b"], ["c", "d"]])), "real numbers are needed"),
    "cube": (xr.Dataset({"points": (("a", "b", "c"), np.ones((2, 2, 2)))}), {}, r"shape \(2, 2, 2\)"),
    "nothing": (xr.Dataset(), {}, "variable is needed; set variable to one of: none"),
    "two": (xr.Dataset({"a": ("i", [1.0, 2.0]), "b": ("i", [1.0, 2.0])}), {}, "variable is needed; set variable to one of: a, b"),
}


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT"])
@pytest.mark.parametrize("case", NETCDF)
def test_netcdf_files_are_read_or_refused(case, form, tmp_path):
    ds, encoding, expected = NETCDF[case]
    path = tmp_path / "made.nc"
    if form != "NETCDF4" and case == "no components":
        pytest.skip("the classic formats have no such dimension")
    ds.to_netcdf(path, format=form, encoding=encoding)
    points, message = read(path)
    if form != "NETCDF4" and case == "truth values":
        expected = expected if message else None
    if expected is None:
        assert message is None, message
        np.testing.assert_array_equal(points, xr.load_dataset(path, engine="scipy" if form != "NETCDF4" else "netcdf4")["points"])
    else:
        assert re.search(expected, message), message


def test_netcdf_files_with_attributes_that_cannot_be_applied_are_refused(tmp_path):
    for i, attributes in enumerate(
        [
            {"scale_factor": "two"},
            {"scale_factor": [1.0, 2.0, 3.0]},
            {"add_offset": "x"},
            {"missing_value": "none"},
            {"units": "days since x"},
        ]
    ):
        path = tmp_path / f"made{i}.nc"
        with netCDF4.Dataset(path, "w") as file:
            file.createDimension("particle", 4)
            file.createDimension("component", 2)
            variable = file.createVariable("points", "f8", ("particle", "component"))
            variable[:] = TABLE
            variable.setncatts(attributes)
        points, message = read(path)
        assert (points is None) != (message is None)
        if message is None:
            assert points.tobytes() == TABLE.tobytes()


def test_a_small_netcdf_file_of_many_numbers_is_refused(tmp_path):
    path = tmp_path / "sparse.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("particle", 10**7)
        file.createDimension("component", 10**4)
        file.createVariable("points", "f8", ("particle", "component"), chunksizes=(1000, 1000))
    assert path.stat().st_size < 10**6
    assert "at most" in read(path)[1]


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_cut_netcdf_files_are_refused(tmp_path, form):
    dataset()[0].to_netcdf(tmp_path / "whole.nc", format=form)
    content = (tmp_path / "whole.nc").read_bytes()
    path = tmp_path / "cut.nc"
    for keep in range(0, len(content) - 1, max(1, len(content) // 40)):
        path.write_bytes(content[:keep])
        assert read(path)[1] is not None


def test_identical_points_are_a_target_like_any_other(tmp_path):
    np.save(tmp_path / "same.npy", np.ones((5, 2)))
    experiment = {
        "name": "same", "target": {"data": {"name": "file", "path": str(tmp_path / "same.npy")}}, "smooth_target": True,
        "start": {"data": {"name": "file", "path": str(tmp_path / "same.npy")}}, "start_label": "same", "leave_one_out": False,
        "bandwidth": 0.5, "n_particles": 4, "replicates": 1, "times": {"stop": 0.5, "count": 3, "spacing": "linear"}, "paired": False,
        "integrator": {"method": "dormand_prince", "rtol": 1e-6, "atol": 1e-8}, "kernel_rtol": None, "dtype": "float64",
        "cloud_dtype": None, "entropy": False, "measure": [], "keep_clouds": 2,
    }  # fmt: skip
    for field in ("conservative", "displacement", "sharp"):
        for kernel in ("gaussian", "laplace"):
            flow = simulate.simulate_flow({**experiment, "field": field, "kernel": {"name": kernel}}, seed=0)
            np.testing.assert_array_equal(flow["cloud_4"], 1.0)
            assert not flow["squared_speed"].any()


def test_the_bound_on_the_size_of_a_table_stands_in_the_message(tmp_path, monkeypatch):
    monkeypatch.setattr(datafiles, "MOST_NUMBERS", 6)
    (tmp_path / "a.csv").write_text("1,2\n" * 4)
    np.save(tmp_path / "a.npy", TABLE)
    for name in ("a.csv", "a.npy"):
        assert "6 numbers" in outcome(read_table, str(tmp_path / name))[1]
