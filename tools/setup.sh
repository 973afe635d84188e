# Sourced by tools/try and tools/test: makes .venv in the checkout if there is none, and installs into it.
# Uses uv where it is installed, else venv and pip. Needs Python 3.11 or newer.

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

find_python() {
    for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
}

make_venv() {
    python=$(find_python)
    [ -n "$python" ] || fail "Turnlog needs Python 3.11 or newer, and $(python3 --version 2>/dev/null || echo 'no python3') is what is here.
Install it (on Debian and Ubuntu: apt install python3.11 python3.11-venv), or name one with PYTHON=/path/to/python3."
    rm -rf .venv
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --python "$python" .venv || fail "uv could not make a virtual environment in .venv (see above)."
        return
    fi
    "$python" -c 'import venv, ensurepip' 2>/dev/null || fail "Python's venv module is missing, so no virtual environment can be made.
Install it (on Debian and Ubuntu: apt install python3-venv), or install uv."
    "$python" -m venv .venv || fail "python could not make a virtual environment in .venv (see above)."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1' # the first that knows --group
}

install() { # the arguments are pip's
    if command -v uv >/dev/null 2>&1; then
        uv pip install --quiet --python .venv/bin/python "$@"
    else
        .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv # uv made it, and is gone
        .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
    fi || fail "The packages that Turnlog needs could not be installed (see above). Is the network there?"
}

setup() { # $1 names what is installed; the rest are pip's arguments for it
    name=$1
    shift
    .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || make_venv
    wanted="$(pwd) $(cksum <pyproject.toml)"
    if [ "$(cat ".venv/installed-$name" 2>/dev/null)" != "$wanted" ]; then
        echo "Installing into .venv ..." >&2
        install "$@"
        printf '%s\n' "$wanted" >".venv/installed-$name"
    fi
}

debian_package() { # $1 is a program, $2 the package that has it; without it some tests are skipped, which is no failure
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "Tests that need $1 are skipped (Debian package $2)." >&2
        return
    fi
    echo "Installing the Debian package $2 ..." >&2
    [ -n "${package_lists_are_new:-}" ] || timeout 300 apt-get update -qq >/dev/null 2>&1 || true
    package_lists_are_new=yes
    DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -qq --no-install-recommends "$2" >/dev/null 2>&1 ||
        echo "The Debian package $2 could not be installed, so tests that need it are skipped." >&2
}
