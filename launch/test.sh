#!/usr/bin/env bash
# Runs the test suite; needs nothing but Python >= 3.11 and pip.
#
#   bash launch/test.sh [arguments of pytest]
#
# Compiled programs stay in .pytest_cache for the next run, of all workers;
# TWOTSREC_TEST_CACHE=new begins without any (tests/conftest.py).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

prepare_environment test
# A file stays in one process, for what its tests share; files that train come
# first (tests/conftest.py).
exec "$python" -m pytest -n auto --maxprocesses=8 --dist loadfile \
  --no-loadscope-reorder "$@"
