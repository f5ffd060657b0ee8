import subprocess
import sys

import numpy as np

from driftrates.arrays import namespace, to_host


def test_numpy_arrays_and_numbers_belong_to_numpy():
    assert namespace(np.zeros(2)) is np
    assert namespace(1.0) is np
    assert to_host([1.0, 2.0]).tolist() == [1.0, 2.0]


def test_a_device_array_is_recognised_by_its_module_and_copied_by_get(monkeypatch):
    class Device:
        __module__ = "cupy._core.core"

        def get(self):
            return np.arange(3)

    stand_in = type(sys)("cupy")
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    assert namespace(Device()) is stand_in
    np.testing.assert_array_equal(to_host(Device()), [0, 1, 2])


def test_cupy_is_not_imported_without_need():
    code = "import sys, numpy, driftrates.arrays as a; a.namespace(numpy.zeros(1)); sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
