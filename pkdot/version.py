"""The version of the package that runs."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pkdot")
except PackageNotFoundError:  # a copy of the folder that is not installed
    __version__ = "0+unknown"
