"""Pictures of finished runs for a notebook, which shows figures of pyplot.

from twotsrec.report import shown

shown.results({'base': 'runs/base', '+GA': 'runs/ga'}, ['auc', 'hr@10'])
"""

from collections.abc import Mapping, Sequence
import functools
from typing import Any

from twotsrec import config as config_lib
from twotsrec.data import groups as groups_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.report import content as content_lib
from twotsrec.report import curves
from twotsrec.report import drawings
from twotsrec.report import pictures
from twotsrec.report import trained
from twotsrec.runs import compared_runs

_GROUPS = 'activeness group, least active first'


def results(
  systems: Mapping[str, str], metrics: Sequence[str], by: str = 'groups'
) -> Any:
  """How runs, and the rules beside them, serve every group.

  Args:
    systems: run directories by name.
    metrics: of the reports; each has an axis.
    by: 'groups', or 'parts' for what users had shown toward an item before.
  Returns:
    The figure.
  Raises:
    types.UserError: runs that cannot be compared, or no matplotlib.
  """
  content = content_lib.read(
    content_lib.Request(
      {name: [run] for name, run in systems.items()}, metrics=tuple(metrics)
    )
  )
  table, styles = content.results, content.styles()
  in_groups = by == 'groups'
  ends = content.num_groups + 1
  some = slice(0, ends) if in_groups else slice(ends, None)
  label = _GROUPS if in_groups else 'what the user had shown before'

  def draw(axis, metric):
    cells = {name: of[some] for name, of in table.cells[metric].items()}
    pictures.dots(axis, table.rows[some], cells, styles)
    name = pictures.metric_name(metric)
    axis.set(title=f'{name} on test items', xlabel=label, ylabel=name)

  return drawings.shown(
    *(functools.partial(draw, metric=metric) for metric in metrics),
    legend={name: styles[name] for name in table.cells[metrics[0]]},
  )


def activity(
  data: prepared_lib.Prepared, groups: config_lib.GroupConfig | None = None
) -> Any:
  """How many users have done how much, with the borders of their groups.

  Args:
    data: of the users.
    groups: how they are made; None takes the defaults.
  Returns:
    The figure.
  """
  options = config_lib.GroupConfig() if groups is None else groups
  keys = groups_lib.keys(data, options)
  borders = groups_lib.assign(data, options).thresholds.tolist()

  def draw(axis):
    name = 'training events of a user'
    pictures.activity(axis, keys, borders, None, name)
    axis.set(title='How active users are', ylabel='users')

  return drawings.shown(draw)


def cosines(workdir: str) -> Any:
  """Cosines of the gradients of groups, of a run with `train.log_groups`.

  Returns:
    The figure: means by epoch, and single pairs in the last one. None of a run
    that did not record them.
  """
  every = curves.of_run(compared_runs.open_run(workdir))
  of = next((one for one in every if one.cosines.ndim == 3), None)
  if of is None:
    return None

  def by_epoch(axis):
    pictures.cosines(axis, of)
    axis.set_title('Mean cosine with the other groups')

  def by_pair(axis):
    pictures.pairs(axis, of.cosines[-1])
    axis.set_title(f'Pairs of groups, epoch {of.diagnosed[-1]}')

  number = range(of.cosines.shape[-1])
  return drawings.shown(
    by_epoch,
    by_pair,
    legend={f'group {j + 1}': drawings.style(j) for j in number},
  )


def movement(workdir: str) -> Any:
  """How far the states of a 2TS run move with each test event.

  Returns:
    The figure (2TS fig. 4), with a line for inactive and for active users. None
    of states that stand still.
  """
  moved = trained.moved_states(compared_runs.open_run(workdir))
  if moved is None:
    return None

  def draw(axis):
    pictures.moved(axis, moved)
    axis.set_title('How far a state moves with each event')

  kinds = ('inactive', 'active')
  return drawings.shown(
    draw,
    legend={f'{kind} users': drawings.style(i) for i, kind in enumerate(kinds)},
    width=6.0,
  )
