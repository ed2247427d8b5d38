#!/usr/bin/env bash
# Runs the test suite; needs nothing but Python >= 3.11 and pip.
#
#   bash launch/test.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

prepare_environment test
exec "$python" -m pytest "$@"
