#!/bin/sh
# Make or renew .venv: the locked packages, checked by hash, and this package itself, editable.
# Uses uv to install where it is on PATH, else pip. PYTHON=… chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

usable='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
version='import platform; print(platform.python_version())'

seen=
found=
for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    # a shim may be on PATH for a Python that is not there: only one that runs counts
    number=$("$candidate" -c "$version" 2>/dev/null) || continue
    if ! "$candidate" -c "$usable"; then
        seen="$seen
    $candidate is Python $number"
    elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
        seen="$seen
    $candidate is Python $number, but without venv (on Debian and Ubuntu: apt install python3-venv)"
    else
        found=$candidate
        break
    fi
done
if [ -z "$found" ]; then
    echo "This book needs Python 3.11, 3.12 or 3.13 (TensorFlow has no wheels for others)." >&2
    echo "Looked for: ${PYTHON:-python3.11 python3.12 python3.13 python3 python}. Found:${seen:- none}" >&2
    echo "Name another with: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi

# A user's own settings for pip must not change what is installed, or where.
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIREMENT PIP_NO_COMPILE PIP_NO_BINARY PIP_ONLY_BINARY
unset UV_CONSTRAINT UV_OVERRIDE UV_NO_BINARY UV_ONLY_BINARY UV_TARGET UV_SYSTEM_PYTHON
export PIP_CONSTRAINT=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1

wanted=$("$found" -c "$version")
present=$(.venv/bin/python -c "$version" 2>/dev/null) || present=none
if [ "$wanted" != "$present" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "Making .venv with $found (Python $wanted)"
    "$found" -m venv --clear .venv
fi

with_uv() {
    command -v uv >/dev/null 2>&1 || return 1
    echo "Installing requirements.lock with uv"
    uv pip install --quiet --python .venv/bin/python --compile-bytecode \
        --require-hashes -r requirements.lock
}

with_pip() {
    echo "Installing requirements.lock with pip: about two minutes the first time"
    .venv/bin/python -m pip install -qq --require-hashes -r requirements.lock
    # pip compiles what it installs, unless a setting says otherwise; this makes sure
    .venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null || true
}

# uv does not read pip's settings: where a network needs them (a mirror, a certificate), pip does it
with_uv || with_pip
# setuptools is in the lock, so building the package needs no network
.venv/bin/python -m pip install -qq --no-deps --no-build-isolation -e .
