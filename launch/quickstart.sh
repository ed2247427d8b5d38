#!/usr/bin/env bash
# From nothing to a table: the base model, back-door weighted gradients (+GA)
# and plugin networks on top (+GA+PN) on the built-in log, by activeness group.
# Needs nothing but Python >= 3.11 and pip. Runs are kept in runs/quickstart;
# repeating the command resumes them.
#
#   bash launch/quickstart.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

prepare_environment ''
"$python" launch/pin.py --config=configs/quickstart.py --workdir=runs/quickstart --beside
