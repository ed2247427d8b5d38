"""Sections on how users are served."""

import functools

import numpy as np

from twotsrec.evaluation import lists as lists_lib
from twotsrec.report import content as content_lib
from twotsrec.report import drawings
from twotsrec.report import formats
from twotsrec.report import gains as gains_lib
from twotsrec.report import pictures
from twotsrec.report import section
from twotsrec.report import tables

Content = content_lib.Content


def results(content: Content) -> section.Section:
  """Test metrics of systems and rules, by group."""
  table = content.results
  groups = content.num_groups + 1
  gray = len(content.beside) > len(content.systems)
  return _of_table(
    content,
    table,
    'results',
    'Results by activeness group',
    'Each dot is a system, and the bar through it its 95 % interval: what'
    ' other users like these would show. Groups stand from the least active'
    ' (1) to the most active; "all" is everybody. Higher is better'
    + (', but for the log loss' if 'log_loss' in table.cells else '')
    + '.'
    + ' Gray are rules without training that a model has to beat.' * gray,
    slice(0, groups),
  )


def _of_table(content, table, key, title, lead, rows) -> section.Section:
  """A picture for every metric of a table, and the table."""
  styles = content.styles()
  names = list(next(iter(table.cells.values())))
  draw = (
    pictures.difference if table.kind == tables.DIFFERENCES else pictures.dots
  )
  shown = table._replace(
    rows=table.rows[rows],
    cells={
      metric: {name: cells[rows] for name, cells in by_system.items()}
      for metric, by_system in table.cells.items()
    },
  )
  figures = [
    section.Figure(
      pictures.metric_name(metric),
      drawings.picture(
        functools.partial(
          draw, rows=shown.rows, cells=by_system, styles=styles
        ),
        f'{pictures.metric_name(metric)} of {section.listed(names)} for'
        f' {section.listed(shown.rows)}: {_spoken(shown, by_system)}',
      ),
    )
    for metric, by_system in shown.cells.items()
  ]
  return section.Section(
    key=key,
    title=title,
    lead=lead,
    legend=[(name, styles[name]) for name in names],
    figures=figures,
    grids=[formats.lines(shown)],
    notes=table.notes,
  )


def _spoken(table, by_system) -> str:
  """The values of a picture in words, of the last systems where many are."""
  said = []
  for name, cells in [*by_system.items()][-3:]:
    values = ['-' if c.value is None else f'{c.value:.3f}' for c in cells]
    said.append(f'{name} {", ".join(values)}')
  return '; '.join(said)


def differences(content: Content) -> section.Section | None:
  """Paired differences to the base, with intervals."""
  if content.compared is None:
    return None
  return _of_table(
    content,
    tables.differences(content.compared),
    'differences',
    f'Differences to {content.base}',
    f'The same users are served by both systems, so what a user gains or loses'
    f' against {content.base} is paired. A bar that does not touch the line at'
    ' 0 is a difference that other such users would show, too. A star in the'
    ' table marks those that stay after a correction for looking at several'
    ' groups.',
    slice(None),
  )


def gains(content: Content) -> section.Section | None:
  """Shares of users who are served better or worse than by the base."""
  every = gains_lib.of_systems(content)
  if not every:
    return None
  styles = content.styles()
  figures, rows = [], []
  for name, gains in every.items():
    metric = pictures.metric_name(gains.metric)
    said = '; '.join(
      f'group {j + 1} {better:.0%} better, {worse:.0%} worse'
      for j, (better, worse) in enumerate(zip(gains.better, gains.worse))
    )
    figures.append(
      section.Figure(
        f'{name} against {content.base}',
        drawings.picture(
          functools.partial(pictures.gained, gains=gains, style=styles[name]),
          f'Users whom {name} serves better or worse than {content.base}, by'
          f' {metric}: {said}',
        ),
      )
    )
    for j, users in enumerate(gains.users):
      rows.append(
        [name, f'group {j + 1}', f'{users:,}']
        + [f'{gains.better[j]:.1%}', _signed(gains.up[j])]
        + [f'{gains.worse[j]:.1%}', _signed(gains.down[j])]
      )
  head = ['system', 'group', 'users', 'better', 'by', 'worse', 'by']
  return section.Section(
    key='gains',
    title='Who gains and who loses',
    lead=f'A mean hides people. To the right stands the share of users whose'
    f' {metric} is higher than with {content.base}, to the left (hatched) the'
    ' share for whom it is lower; the rest is served as before. The table says'
    ' by how much, in the mean of those users.',
    figures=figures,
    grids=[[head, *rows]],
  )


def _signed(value: float) -> str:
  return '-' if np.isnan(value) else f'{value:+.4f}'


def parts(content: Content) -> section.Section | None:
  """Test metrics by what a user had shown toward an item."""
  table = content.results
  groups = content.num_groups + 1
  if len(table.rows) == groups:
    return None
  named = section.listed(table.rows[groups:])
  return _of_table(
    content,
    table._replace(notes=()),
    'parts',
    'By what a user had shown before',
    'Held-out items apart by what their user had shown toward them before:'
    f' {named}. To bring an item back and to find a new one are different'
    ' tasks. "new" are items that the user had not met, "again" those that the'
    ' user had, and the others bear the name of the last behavior shown.',
    slice(groups, None),
  )


def online(content: Content) -> section.Section | None:
  """MRR event after event, by bucket of training events."""
  table = tables.of_online(content.beside)
  if table is None:
    return None
  return _of_table(
    content,
    table,
    'online',
    'Event after event, by training events',
    'Each test event is ranked by what was known right before it, and users are'
    ' told apart by their number of training events; "new" are users without'
    ' any. Rows are means over users. Active users are those above the'
    ' threshold t*, if the systems have one.',
    slice(None),
  )


def lists(content: Content) -> section.Section | None:
  """Coverage, popularity bias and Gini of recommendations, by group."""
  table = tables.of_lists(content.beside)
  if table is None:
    return None
  return _of_table(
    content,
    table,
    'lists',
    'What is recommended',
    f'{table.title}, made as recommend.py makes them. Coverage is the share of'
    ' all items that is in the lists of a group at all; the share of popular'
    f' items counts those among the most popular {lists_lib.POPULAR:.0%}, so'
    ' high is a bias toward what everybody has; the Gini coefficient is 0 where'
    ' all items are recommended equally often and near 1 where a few take all'
    ' places. Novelty is higher for rarer items, and distance for lists whose'
    ' items go less together. Coverage and Gini depend on how many lists there'
    ' are, so compare systems, not groups of different size.',
    slice(None),
  )


def verdict(content: Content) -> section.Section | None:
  """How the models stand to the rules beside them."""
  rows, metrics = [], {}
  for name, run in content.models.items():
    told = run.report.get('verdict')
    if not told:
      continue
    metric = told['metric']
    metrics[pictures.metric_name(metric)] = None
    for rule, by in told['rules'].items():
      every = {'all': by['overall'], **by.get('parts', {})}
      rows += [
        [name, rule, items, row['standing'], *_pair(row[metric])]
        for items, row in every.items()
      ]
  if not rows:
    return None
  head = ['system', 'rule', 'items', 'standing', 'system has', 'rule has']
  return section.Section(
    key='verdict',
    title='Against rules without training',
    lead='A model is worth its training where it is above what rules do without'
    ' any. It is above or below a rule where the 95 % interval of the paired'
    f' difference leaves 0 out, by {section.listed(metrics)}.',
    grids=[[[*head, 'difference', '95 % interval'], *rows]],
  )


def _pair(cell) -> list[str]:
  if cell['difference'] is None:
    return ['-'] * 4
  shown = [f'{cell["model"]:.4f}', f'{cell["rule"]:.4f}']
  shown.append(f'{cell["difference"]:+.4f}')
  if cell['low'] is None:
    return [*shown, '-']
  return [*shown, f'{cell["low"]:+.4f} to {cell["high"]:+.4f}']
