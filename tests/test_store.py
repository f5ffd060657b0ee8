import errno
import json
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from driftrates import store


def dataset():
    rng = np.random.default_rng(0)
    about = {"long_name": "something", "units": "1"}
    return xr.Dataset(
        {
            "path": (("time", "particle"), rng.normal(size=(7, 300)), {"long_name": "position", "units": "length"}),
            "small": ("particle", rng.normal(size=300).astype("f4"), about),
            "passed": ("time", np.arange(7) % 2 == 0, about),
            "reason": ("kernel", np.array(["", "a kink", "é"], dtype=object), about),
            "count": ((), np.int64(3), about),
            "gap": ("time", np.array([0.0, np.nan, np.inf, 1, 2, 3, 4]), about),
            "none": ("empty", np.zeros(0), about),
        },
        coords={"time": ("time", np.linspace(0, 1, 7), {"long_name": "time", "units": "s"})},
        attrs={"seed": 5, "engine": "cpu"},
    )


def write(path, ds=None, **kwargs):
    arguments = {"title": "A result", "digest": "abc", "params": {"h": 0.1, "names": ["a", None]}, "device": "cpu", **kwargs}
    store.write(dataset() if ds is None else ds, path, **arguments)
    return path


def test_round_trip(tmp_path):
    back = store.read(write(tmp_path / "a.nc"))
    xr.testing.assert_equal(back, dataset())
    for name, variable in dataset().variables.items():
        if variable.dtype.kind != "O":
            assert back[name].dtype == variable.dtype
        assert back[name].attrs == variable.attrs


def test_provenance_by_the_conventions(tmp_path):
    attributes = store.attributes(write(tmp_path / "a.nc"))
    assert attributes["Conventions"].startswith("CF-1.")
    assert attributes["title"] == "A result"
    assert attributes["source"].startswith("driftrates ")
    assert "2605.22795" in attributes["references"]
    assert attributes["source_digest"] == "abc"
    assert json.loads(attributes["config"]) == {"h": 0.1, "names": ["a", None]}
    assert (attributes["seed"], attributes["engine"], attributes["device"]) == (5, "cpu", "cpu")
    assert attributes["dtype"] == "float32 float64"
    assert np.__version__ in attributes["versions"]


def test_arguments_win_over_attributes_and_absent_ones_are_left_out(tmp_path):
    assert store.attributes(write(tmp_path / "a.nc", seed=9))["seed"] == 9
    plain = dataset().assign_attrs()
    plain.attrs = {}
    assert not {"seed", "engine"} & set(store.attributes(write(tmp_path / "b.nc", plain)))


def test_the_encoding_is_explicit(tmp_path):
    with netCDF4.Dataset(write(tmp_path / "a.nc")) as file:
        assert file.data_model == "NETCDF4"
        for name in ("path", "small", "time", "passed"):
            assert file[name].filters()["zlib"], name
        assert file["path"].dtype == np.float64
        assert "_FillValue" not in file["gap"].ncattrs()


def test_chunks_stay_within_a_mebibyte():
    for shape in [(10,), (3, 5), (4, 2000, 1000), (1, 10**7), (300, 1, 7, 2**17)]:
        chunks = store._chunks(shape, np.dtype("f8"))
        assert len(chunks) == len(shape)
        assert all(1 <= c <= max(1, n) for c, n in zip(chunks, shape, strict=True))
        assert 8 * np.prod(chunks) <= 2**20


def in_another_process(code, path):
    """What ``code`` prints; it has this module as ``t`` and the path as ``sys.argv[1]``."""
    head = f"import sys; from pathlib import Path; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_store as t\n"
    return subprocess.run([sys.executable, "-c", head + code, str(path)], capture_output=True, text=True, check=True).stdout


def test_equal_results_are_equal_bytes_in_another_process(tmp_path):
    first = write(tmp_path / "a.nc").read_bytes()
    assert first == write(tmp_path / "b.nc").read_bytes()
    assert not in_another_process("t.write(Path(sys.argv[1]))", tmp_path / "c.nc")
    assert first == (tmp_path / "c.nc").read_bytes()


@pytest.mark.parametrize("name", ["path", "time", "reason"])
@pytest.mark.parametrize("attribute", ["long_name", "units"])
def test_a_variable_without_label_or_unit_is_refused(tmp_path, name, attribute):
    ds = dataset()
    del ds[name].attrs[attribute]
    with pytest.raises(ValueError, match=f"variable '{name}' has no {attribute}"):
        write(tmp_path / "a.nc", ds)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write(tmp_path / "a.nc")
    before = path.read_bytes()
    ds = dataset()
    ds.attrs["bad"] = object()
    with pytest.raises(Exception, match="attr 'bad'"):
        write(path, ds)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_two_writers_use_two_temporary_names(tmp_path):
    code = "import sys; from driftrates import store\nwith store.replacing(sys.argv[1]) as t: t.touch(); print(t.name)"
    names = {subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.nc")], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(names) == 2
    assert all(name.strip().endswith(".nc") and name.strip() != "a.nc" for name in names)


def test_a_full_disk_ends_in_one_message(tmp_path):
    """A limit on the size of files stands in for a disk without room."""
    code = """import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    t.write(Path(sys.argv[1]))
except OSError as error:
    print(error)"""
    message = in_another_process(code, tmp_path / "a.nc")
    assert message.startswith(f"cannot write {tmp_path / 'a.nc'}: ")
    assert len(message.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["/proc", "missing"])
def test_a_folder_that_takes_no_files_ends_in_one_message(tmp_path, folder):
    path = tmp_path / folder / "a.nc"
    with pytest.raises(OSError, match=f"^cannot write {path}: .*room and permission"):
        write(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="a.nc: no such file"):
        store.read(tmp_path / "a.nc")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file(tmp_path, share):
    path = write(tmp_path / "a.nc")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"a\.nc is (truncated|not a NetCDF)"):
        store.read(path)


def test_a_damaged_file(tmp_path):
    path = write(tmp_path / "a.nc")
    content = bytearray(path.read_bytes())
    with netCDF4.Dataset(path) as file:
        assert file["path"].filters()["zlib"]
    middle = len(content) // 2
    content[middle - 3000 : middle + 3000] = bytes(6000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.nc is truncated or damaged"):
        store.read(path)


def test_a_disk_made_read_only_under_way_is_named(tmp_path, monkeypatch):
    """Even the search for the temporary file ends in an error then."""
    error = OSError(errno.EROFS, "Read-only file system")
    monkeypatch.setattr(store.Path, "unlink", lambda path, missing_ok=False: (_ for _ in ()).throw(error))
    with pytest.raises(OSError, match=r"cannot write .*a\.nc: Read-only file system; is there room"), store.replacing(tmp_path / "a.nc"):
        raise error


def test_wherever_a_file_is_damaged_it_is_refused(tmp_path):
    """One byte is enough; also where the NetCDF library alone would see nothing, or crash."""
    path = write(tmp_path / "a.nc")
    content = path.read_bytes()
    for place in [0, 1, 8, len(content) - 60, len(content) - 40, len(content) - 1, *range(100, len(content), 991)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match="remove it and run the workflow again"):
            store.read(path)
    for length in (len(content) - 1, len(content) - 20, len(content) - 49, len(content) - 50, len(content) - 51):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="a.nc is truncated or damaged"):
            store.read(path)


def test_other_programs_read_a_sealed_file(tmp_path):
    path = write(tmp_path / "a.nc")
    xr.testing.assert_equal(xr.open_dataset(path, decode_times=False, decode_timedelta=False).load(), dataset())
    with netCDF4.Dataset(path) as file:
        assert file["path"].shape == (7, 300)


def test_a_foreign_file(tmp_path):
    dataset().to_netcdf(tmp_path / "foreign.nc")
    with pytest.raises(ValueError, match=r"foreign\.nc was not written by driftrates"):
        store.read(tmp_path / "foreign.nc")
    (tmp_path / "text.nc").write_text("no NetCDF at all")
    with pytest.raises(ValueError, match=r"text\.nc is not a NetCDF file"):
        store.attributes(tmp_path / "text.nc")


def frame():
    return pd.DataFrame(
        {
            "id": ["T3.1/d=2", "A_1"],
            "note": ["50% & more | less", ""],
            "value": [0.1 + 0.2, np.nan],
            "cases": [3, 4],
            "scale": [1e-9, np.inf],
        }
    )


def test_a_table_survives_csv_to_the_last_digit(tmp_path):
    store.write_csv(frame(), tmp_path / "a.csv")
    pd.testing.assert_frame_equal(store.read_csv(tmp_path / "a.csv"), frame(), check_exact=True)
    rng = np.random.default_rng(0)
    many = pd.DataFrame({"x": rng.normal(size=2000) * 10.0 ** rng.integers(-300, 300, 2000)})
    store.write_csv(many, tmp_path / "b.csv")
    pd.testing.assert_frame_equal(store.read_csv(tmp_path / "b.csv"), many, check_exact=True)


def test_a_table_in_three_formats(tmp_path):
    paths = [tmp_path / f"a.{suffix}" for suffix in ("csv", "md", "tex")]
    store.write_table(frame(), paths)
    markdown = paths[1].read_text()
    assert [line.count("|") - line.count(r"\|") for line in markdown.splitlines()] == [6] * 4
    assert "0.3 " in markdown
    assert "1e-09" in markdown
    tex = paths[2].read_text()
    assert r"50\% \& more | less" in tex
    assert r"A\_1" in tex
    assert tex.startswith(r"\begin{tabular}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.md", "a.tex"]


def test_a_table_in_an_unknown_format(tmp_path):
    with pytest.raises(ValueError, match=r"written as \.csv, \.md or \.tex"):
        store.write_table(frame(), [tmp_path / "a.xlsx"])


def test_an_empty_table_file(tmp_path):
    (tmp_path / "a.csv").touch()
    with pytest.raises(ValueError, match=r"a\.csv is not a table"):
        store.read_csv(tmp_path / "a.csv")
