#!/usr/bin/env bash
# From nothing to a table: the base model against back-door weighted gradients
# (+GA) on the built-in log, by activeness group. Needs nothing but
# Python >= 3.11 and pip. Runs are kept in runs/quickstart; repeating the
# command resumes them.
#
#   bash launch/quickstart.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

prepare_environment ''
runs=runs/quickstart
"$python" launch/train.py --config=configs/quickstart.py \
  --workdir="$runs/base" --config.aggregator.name=joint
"$python" launch/train.py --config=configs/quickstart.py \
  --workdir="$runs/ga" --config.aggregator.name=backdoor
"$python" launch/evaluate.py --workdir="$runs/base,$runs/ga" --names=base,+GA
