"""The user's own files as `datasets.load` sees them: one table from every format, and one message for whatever is wrong with it."""

import pickle
import struct

import numpy as np
import pytest
import xarray as xr
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from driftrates.datafiles import read_table
from driftrates.datasets import clouds, load

TABLE = np.array([[0.5, -1.0, 3.0], [1.5, 2e-3, 4.0], [-2.0, 7.0, 4.5], [0.0, 1.0, -5.0]])


@pytest.fixture
def write(tmp_path):
    def write(content, name="points.csv"):
        path = tmp_path / name
        if isinstance(content, str):
            path.write_text(content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, xr.Dataset):
            content.to_netcdf(path)
        else:
            np.save(path, content, allow_pickle=True)
        return str(path)

    return write


def read(path, seed=0, **keys):
    return load({"name": "file", "path": path, **keys}, seed=seed)


def text(table, header=None):
    return "\n".join([*([header] if header else []), *(",".join(map(repr, row)) for row in table.tolist())]) + "\n"


def dataset():
    return xr.Dataset({"points": (("particle", "component"), TABLE), "mass": ("particle", TABLE[:, 0])})


def test_the_same_table_is_read_from_every_format(write):
    paths = [
        (write(text(TABLE), "a.csv"), {}),
        (write(text(TABLE, "x,y,z"), "b.csv"), {}),
        (write("\ufeff" + text(TABLE, '"x","y, m",z').replace("\n", "\r\n"), "c.CSV"), {}),
        (write(text(TABLE).replace(",", ";") + "\n\n", "d.csv"), {"delimiter": ";"}),
        (write(text(TABLE, "2019,2020,2021"), "e.csv"), {"header": True}),
        (write(TABLE, "f.npy"), {}),
        (write(np.asfortranarray(TABLE), "g.npy"), {}),
        (write(dataset(), "h.nc"), {"variable": "points"}),
        (write(dataset()[["points"]], "i.nc"), {}),
    ]
    for path, keys in paths:
        np.testing.assert_array_equal(read(path, dimension=3, **keys), TABLE, err_msg=path)


def test_columns_choose_by_name_and_index(write):
    named = write("x,species,y\n1,setosa,2\n3,other,5\n")
    np.testing.assert_array_equal(read(named, columns=["y", "x"]), [[2, 1], [5, 3]])
    np.testing.assert_array_equal(read(named, columns=[0, "y"]), [[1, 2], [3, 5]])
    np.testing.assert_array_equal(read(named, columns="x"), [[1], [3]])
    np.testing.assert_array_equal(read(write(TABLE, "a.npy"), columns=[2, 0]), TABLE[:, [2, 0]])
    np.testing.assert_array_equal(read(write(dataset(), "a.nc"), columns=[1], variable="points"), TABLE[:, [1]])


def test_columns_come_with_their_labels(write):
    values, labels = read_table(write("x,species,y\n1,setosa,2\n3,other,5\n"), columns=["y", 0])
    np.testing.assert_array_equal(values, [[2, 1], [5, 3]])
    assert labels == ["column 2 ('y')", "column 0 ('x')"]
    assert read_table(write(TABLE, "a.npy"), columns=[2])[1] == ["column 2"]


def test_one_dimensional_arrays_become_one_column(write):
    for path, keys in [(write(TABLE[:, 0], "a.npy"), {}), (write(dataset(), "a.nc"), {"variable": "mass"}), (write("1\n2\n"), {})]:
        assert read(path, **keys).shape[1] == 1
    assert read(write(np.arange(5), "b.npy")).tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0]]
    assert read(write(np.array([1.5, 2], np.float16), "c.npy")).dtype == np.float64


def test_subsamples_are_drawn_without_repetition_and_nested(write):
    path = write(np.arange(100.0), "a.npy")
    large = read(path, size=40, seed=2)
    assert len(np.unique(large)) == 40
    np.testing.assert_array_equal(read(path, size=10, seed=2), large[:10])
    np.testing.assert_array_equal(read(path, size=100, seed=2)[:, 0], np.arange(100.0))
    x = clouds({"name": "file", "path": path}, seed=0, label="start", n_particles=10, replicates=3)
    assert x.shape == (3, 10, 1)
    assert not np.array_equal(x[0], x[1])


def test_standardise_and_components_act_on_the_whole_file(write):
    values = np.random.default_rng(0).normal(size=(60, 4)) @ np.random.default_rng(1).normal(size=(4, 4)) + 5
    path = write(values, "a.npy")
    z = read(path, standardise=True)
    np.testing.assert_allclose(z, StandardScaler().fit_transform(values), atol=1e-12)
    subsample = read(path, standardise=True, size=7)
    assert all((abs(z - row).max(1) == 0).any() for row in subsample)
    for standardise in (False, True):
        expected = PCA(2).fit_transform(StandardScaler(with_std=standardise).fit_transform(values))
        x = read(path, standardise=standardise, components=2)
        np.testing.assert_allclose(abs(x), abs(expected), rtol=1e-8, atol=1e-10)


def test_components_do_not_depend_on_the_number_of_threads(write):
    path = write(np.random.default_rng(0).normal(size=(3000, 200)), "wide.npy")
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(read(path, standardise=True, components=5).tobytes())
    assert results[0] == results[1]


class Bomb:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("form", ["object array", "bare pickle", "pickle in a .csv", "pickle in a .nc"])
def test_pickles_are_refused_and_never_executed(form, write, tmp_path):
    trace = tmp_path / "executed"
    bomb = Bomb(str(trace))
    content = np.array([bomb, bomb], object) if form == "object array" else pickle.dumps(bomb)
    suffix = form[-4:] if form.startswith("pickle in") else ".npy"
    suffix = suffix.strip()
    path = write(content, f"bomb{suffix}")
    with pytest.raises(ValueError, match=r"^data set 'file': file .*bomb.*: ") as refusal:
        read(path)
    if suffix == ".npy":
        assert "pickles are refused" in str(refusal.value)
    assert not trace.exists()


def npy_header(shape):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


BAD = {
    "nan": ("x,y\n1,2\n3,nan\n", {}, r"line 3, column 1 \('y'\) holds 'nan'"),
    "inf": ("1,2\n-inf,4\n", {}, "line 2, column 0 holds '-inf'"),
    "ragged": ("1,2\n3\n", {}, "line 2 has 1 cells, the first line 2"),
    "ragged_after_header": ("x,y\n1,2,3\n", {}, "line 2 has 3 cells, the first line 2"),
    "text": ("x,y\n1,2\n3,four\n", {}, r"line 3, column 1 \('y'\) holds 'four'"),
    "text_first_line": ("1,two\n3,4\n", {}, "line 1, column 1 holds 'two': .*header to true"),
    "missing_first_line": ("NA,NA\n3,4\n1,2\n", {}, "line 1, column 0 holds 'NA'"),
    "empty_cell": ("x,y\n1,\n3,4\n", {}, r"line 2, column 1 \('y'\) is empty"),
    "underscore": ("1_0,2\n3,4\n", {}, "line 1, column 0 holds '1_0'"),
    "formula": ("x\n1\n=1+1\n", {}, r"holds '=1\+1'"),
    "decimal_comma": ("1,5;2,5\n3,5;4,5\n", {"delimiter": ";"}, "decimal point"),
    "empty": ("", {}, "no rows of data; at least 2 are needed"),
    "blank": ("\n \n\n", {}, "no rows of data"),
    "header_only": ("x,y\n", {}, "no rows of data"),
    "single_row": ("x,y\n1,2\n", {}, "1 row of data"),
    "constant": ("x,y\n1,2\n1,3\n", {"standardise": True}, r"column 0 \('x'\) is constant"),
    "wrong_dimension": ("1,2\n3,4\n", {"dimension": 3}, "2 columns, but dimension says 3"),
    "too_many_components": ("1,2\n2,4\n3,6\n", {"components": 2}, "components must be an integer from 1 to 1, not 2"),
    "equal_rows": ("1,2\n1,2\n", {"components": 1}, "all rows are equal"),
    "component_text": ("1,2\n3,4\n", {"components": "2"}, "components must be an integer"),
    "unknown_column": ("x,y\n1,2\n3,4\n", {"columns": ["z"]}, "column 'z' stands 0 times in the header: x, y"),
    "doubled_column": ("x,x\n1,2\n3,4\n", {"columns": ["x"]}, "column 'x' stands 2 times"),
    "nameless_column": ("1,2\n3,4\n", {"columns": ["x"], "header": False}, "column 'x' needs a header"),
    "column_index": ("1,2\n3,4\n", {"columns": [2]}, "no column 2; indices go from 0 to 1"),
    "no_columns": ("1,2\n3,4\n", {"columns": []}, "columns must be a list"),
    "column_kind": ("1,2\n3,4\n", {"columns": [1.5]}, "columns must be a list"),
    "standardise_kind": ("1,2\n3,4\n", {"standardise": 1}, "standardise must be true or false"),
    "header_kind": ("1,2\n3,4\n", {"header": "yes"}, "header must be true or false"),
    "delimiter_kind": ("1,2\n3,4\n", {"delimiter": ", "}, "delimiter must be one character"),
    "variable_of_a_csv": ("1,2\n3,4\n", {"variable": "x"}, "key variable does not apply to .csv files"),
    "too_large": ("1,2\n3,4\n", {"size": 3}, "size is 3, but there are only 2 points"),
    "quote": ('1,"2\n3,4\n', {}, "is not CSV"),
    "latin1": ("é,1\n".encode("latin-1"), {}, "is not UTF-8 text"),
}
BAD_ARRAYS = {
    "nan.npy": (np.array([[1.0, 2.0], [3.0, np.nan]]), {}, "row 1, column 1 holds nan"),
    "chosen.npy": (np.array([[1.0, 2.0], [np.inf, 3.0]]), {"columns": [1, 0]}, "row 1, column 0 holds inf"),
    "complex.npy": (np.ones((2, 2), complex), {}, "type complex128; real numbers are needed"),
    "text.npy": (np.array(["a", "b"]), {}, "type <U1"),
    "structured.npy": (np.zeros(3, [("x", float)]), {}, "real numbers are needed"),
    "scalar.npy": (np.array(1.0), {}, r"array of shape \(\)"),
    "cube.npy": (np.ones((2, 2, 2)), {}, r"array of shape \(2, 2, 2\)"),
    "empty.npy": (np.empty((0, 2)), {}, "no rows of data"),
    "narrow.npy": (np.empty((5, 0)), {}, "no rows of data"),
    "row.npy": (np.ones((1, 2)), {}, "1 row of data"),
    "constant.npy": (np.array([[1.0, 2.0], [3.0, 2.0]]), {"standardise": True}, "column 1 is constant"),
    "named.npy": (np.ones((2, 2)), {"columns": ["x"]}, "column 'x' needs a header"),
    "nothing.npy": (b"", {}, "is not a plain array of numbers"),
    "cut.npy": (npy_header("(100, 2)"), {}, "is not a plain array of numbers"),
    "huge.npy": (npy_header("(1000000000000, 1000)"), {}, "is not a plain array of numbers"),
    "code.npy": (npy_header("(__import__('os').getpid(),)"), {}, "is not a plain array of numbers"),
    "header.npy": (np.ones((2, 2)), {"header": True}, "key header does not apply to .npy files"),
    "unknown.nc": (dataset(), {"variable": "velocity"}, "there is no variable 'velocity'; set variable to one of: points, mass"),
    "unsaid.nc": (dataset(), {}, "variable is needed; set variable to one of: points, mass"),
    "kind.nc": (dataset(), {"variable": 3}, "variable must be a name"),
    "nan.nc": (dataset().where(dataset().mass > -1), {"variable": "mass"}, "row 2, column 0 holds nan"),
    "text.nc": (xr.Dataset({"s": ("i", ["a", "b"])}), {}, "real numbers are needed"),
    "garbage.nc": (b"not a NetCDF file", {}, "cannot be read"),
    "points.xlsx": (b"PK", {}, "the name must end in .csv, .npy, .nc, not '.xlsx'"),
    "points": (b"1,2", {}, "the name must end in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_csv_files_end_in_one_message(case, write):
    content, keys, message = BAD[case]
    with pytest.raises(ValueError, match=message) as refusal:
        read(write(content), **keys)
    assert "file" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_end_in_one_message(name, write):
    content, keys, message = BAD_ARRAYS[name]
    with pytest.raises(ValueError, match=message) as refusal:
        read(write(content, name), **keys)
    assert name in str(refusal.value) or "variable must be a name" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.csv: there is no such file"):
        read(str(tmp_path / "nowhere.csv"))
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(ValueError, match=r"folder\.npy: there is no such file"):
        read(str(tmp_path / "folder.npy"))
