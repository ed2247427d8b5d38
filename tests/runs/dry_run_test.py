from tests import small_runs
from twotsrec import config as config_lib
from twotsrec.runs import dry_run


def test_steps_and_memory_of_the_first_phase_are_told():
  said = dry_run.describe(small_runs.config())
  lines = [line.split('  ')[0] for line in said.splitlines()]
  assert 'epochs at most, in the first phase' in lines[0]
  assert lines[2] == 'tables of ids' and 'all' in lines
  cells = [line.split()[-1].replace(',', '') for line in said.splitlines()[2:]]
  *parts, together, _ = map(float, cells)
  assert abs(sum(parts) - together) < 0.5  # rounded to tenths of a megabyte


def test_a_model_without_steps_says_so():
  config = config_lib.Config()
  config_lib.change(config, {'model.name': 'ease', 'data.users': 60})
  assert 'trains nothing' in dry_run.describe(config)
