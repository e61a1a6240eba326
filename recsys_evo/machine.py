"""What a figure was made on: the processor, and the versions of what computes. It names nobody.

Stored results carry both (`claims`), and so does the book's page on its own status.
"""

import importlib.metadata
import os
import platform
from pathlib import Path

_PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "tensorflow", "keras")


def versions():
    """Python's version, and those of the packages that figures depend on, as {name: version}."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine():
    """{"processor": its name, "cores": their number}; nothing that would name the owner."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].split(":")[1].strip() if names else processor
    return {"processor": processor, "cores": os.cpu_count()}
