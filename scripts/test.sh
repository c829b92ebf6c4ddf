#!/usr/bin/env bash
# Lint and the whole test suite, from nothing. Arguments go to pytest.
#
#   scripts/test.sh               everything that CI runs
#   scripts/test.sh -k sampling   a part of it
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"
if [ "${1:-}" = "--help" ]; then
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"
  exit 0
fi
cd "$ROOT"
install_package "dev,fast"
echo "== lint"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
echo "== types"
"$PYTHON" -m mypy
echo "== tests"
if [ $# -eq 0 ]; then set -- --slow -n 2 --dist loadfile; fi
"$PYTHON" -m pytest "$@"
