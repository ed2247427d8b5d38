"""Modules beside the script are found as the script finds them."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / 'launch' / 'benchmarks'))
