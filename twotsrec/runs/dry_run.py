"""What a run would need, without training anything."""

from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec.evaluation import comparison
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run
from twotsrec.training import machine
from twotsrec.training import memory

_HOLDS = {
  'tables': 'tables of ids',
  'network': 'other parameters',
  'optimizer': 'what the optimizer remembers',
  'method': 'what the aggregator remembers',
  'data': 'examples and what is given',
}


def describe(config: config_lib.Config) -> str:
  """Steps and memory of the first phase of a run, as a table in plain text.

  Its program is compiled, to know the temporary arrays; nothing is written but
  the prepared data of a named dataset.

  Raises:
    types.UserError: what `run.train` would refuse before its first update.
  """
  recipes.of(config).check(config)
  experiment = experiment_lib.make(config, experiment_lib.load_data(config))
  phase = run.first_phase(config, experiment)
  if phase is None:
    return f'model.name={config.model.name} trains nothing step by step.'
  found, temporary = memory.of_phase(phase), memory.temporary(phase)
  rows = [(words, getattr(found, name)) for name, words in _HOLDS.items()]
  rows.append(('temporary arrays of a step', temporary))
  rows.append(('all', sum(size or 0 for _, size in rows)))
  rows.append(('free on the device, beside the examples', machine.free_bytes()))
  number = len(phase.source.plan_of(0))
  return (
    f'{number:,} steps an epoch, {phase.how.train.epochs} epochs at most, in'
    ' the first phase\n'
    + comparison.aligned([('memory', 'MB'), *map(_row, rows)])
  )


def _row(row):
  words, size = row
  return words, 'unknown' if size is None else f'{size / 1e6:,.1f}'
