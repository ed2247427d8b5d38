"""Figures for notebooks have the numbers of their runs."""

import numpy as np
import pytest

from tests import finished
from twotsrec.report import shown
from twotsrec.runs import experiment

matplotlib = pytest.importorskip(
  'matplotlib', reason='matplotlib (plots) is not installed'
)


@pytest.fixture(autouse=True)
def pyplot():
  matplotlib.use('Agg')
  from matplotlib import pyplot

  yield pyplot
  pyplot.close('all')


def _dots(axis):
  """Heights of the dots of each system, in order."""
  lines = [c.lines[0] for c in axis.containers]
  return [np.asarray(line.get_ydata(), float) for line in lines]


def test_results_are_those_of_the_report():
  run = str(finished.run('ga'))
  figure = shown.results({'+GA': run}, ['auc', 'hr@10'])
  test = experiment.read_report(run)['test']
  assert len(figure.axes) == 2
  for axis, metric in zip(figure.axes, ('auc', 'hr@10')):
    *rules, mine = _dots(axis)
    rows = [*test['groups'], test['overall']]
    np.testing.assert_allclose(mine, [row[metric]['value'] for row in rows])
    assert rules and axis.get_xlabel() and axis.get_ylabel()
  names = [text.get_text() for text in figure.legends[0].get_texts()]
  assert names[-1] == '+GA' and 'popularity' in names


def test_gradients_and_states_are_shown_where_there_are_any():
  run, states = str(finished.run('ga')), str(finished.two_time())
  assert len(shown.cosines(run).axes) == 2
  assert shown.movement(run) is None
  assert len(shown.movement(states).axes) == 1


def test_activity_has_a_line_for_every_border():
  loaded, _ = experiment.load(str(finished.run('ga')))
  figure = shown.activity(loaded.prepared, loaded.config.groups)
  borders = [line.get_xdata()[0] for line in figure.axes[0].lines]
  assert borders == loaded.groups.thresholds.tolist()
