"""Assembly becomes a function of this process."""

import numpy as np
import pytest

from driftrates.sums import machine

_FILL = """
define void @fill(double* %out, i64 %n, i64 %value) {
entry:
  %number = sitofp i64 %value to double
  br label %head
head:
  %i = phi i64 [0, %entry], [%next, %body]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %end
body:
  %place = getelementptr double, double* %out, i64 %i
  store double %number, double* %place
  %next = add i64 %i, 1
  br label %head
end:
  ret void
}
"""


def test_compiled_function_runs():
    function, out = machine.compiled(_FILL, "fill", 1, 2), np.zeros(100)
    function(out.ctypes.data, 60, 7)
    np.testing.assert_array_equal(out, np.where(np.arange(100) < 60, 7.0, 0.0))


def test_what_is_no_assembly_is_refused():
    with pytest.raises(RuntimeError, match="parsing"):
        machine.compiled("nonsense", "fill", 1, 2)


def test_features_are_named():
    assert all(isinstance(flag, bool) for flag in dict(machine.features()).values())
