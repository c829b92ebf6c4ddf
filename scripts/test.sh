#!/usr/bin/env bash
# Lint, types and the tests, from nothing. Arguments go to pytest.
#
#   scripts/test.sh               the whole suite
#   scripts/test.sh -k sampling   a part of it, without the slow tests
#   scripts/test.sh --nightly     what proves little per minute: full sizes, all exports
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
parallel=(-n 2 --dist loadfile --no-loadscope-reorder)
case "$*" in
  "") set -- --slow "${parallel[@]}" ;;
  --nightly) set -- --nightly "${parallel[@]}" ;;
esac
"$PYTHON" -m pytest "$@"
