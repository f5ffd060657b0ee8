# Imported here, before the tests turn warnings into errors: its wheels announce the size of NumPy's structures once per process.
import netCDF4  # noqa: F401
