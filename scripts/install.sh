# Sourced by the scripts beside it: makes .venv once and keeps it up to date.
# Sets ROOT and PYTHON. PYTHON_BIN chooses the interpreter of a new .venv.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${VENV:-$ROOT/.venv}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac
PYTHON="$VENV/bin/python"

install_package() {
  local extras="$1" stamp="$VENV/.installed-$1" sources
  sources="$(cat "$ROOT/setup.cfg" "$ROOT/pyproject.toml" "$ROOT/constraints.txt" |
    cksum)"
  if [ -x "$PYTHON" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$sources" ]; then
    echo "== $VENV is up to date"
    return
  fi
  local base="${PYTHON_BIN:-python3}"
  if ! "$base" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'
  then
    echo "error: $base is $("$base" -V 2>&1); Python 3.10 to 3.13 is needed" \
      "(set PYTHON_BIN to one)" >&2
    exit 2
  fi
  echo "== installing into $VENV (about 3 GB, a few minutes)"
  if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
    if ! "$base" -m venv --clear "$VENV"; then
      rm -rf "$VENV"
      echo "error: $base -m venv failed; on Debian: apt install python3-venv" >&2
      exit 2
    fi
  fi
  local pins=()
  if "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
    pins=(-c "$ROOT/constraints.txt") # the tested set is one of Python 3.11
  fi
  "$PYTHON" -m pip install --quiet --disable-pip-version-check \
    ${pins[@]+"${pins[@]}"} -e "$ROOT[$extras]"
  echo "$sources" >"$stamp"
}
