"""Sections on how systems were trained."""

import functools
import pathlib
from typing import Any

import numpy as np

from twotsrec.evaluation import movement as movement_lib
from twotsrec.report import content as content_lib
from twotsrec.report import curves as curves_lib
from twotsrec.report import drawings
from twotsrec.report import pictures
from twotsrec.report import section
from twotsrec.runs import compared_runs
from twotsrec.training import online_rows

Content = content_lib.Content


def _groups_legend(number) -> list[tuple[str, drawings.Style]]:
  return [(f'group {j + 1}', drawings.style(j)) for j in range(number)]


def curves(content: Content) -> section.Section | None:
  """What validation saw, epoch by epoch."""
  phases = [
    (_phase(name, curve), curve)
    for name, run in content.models.items()
    for curve in curves_lib.of_run(run)
    if len(curve.epochs)
  ]
  kind = lambda curve: (curve.split, curve.metric, curve.name)
  figures = []
  for name, curve in phases:
    # Pictures of one metric and phase share their scale.
    alike = [c.by_group for _, c in phases if kind(c) == kind(curve)]
    values = np.concatenate([one.ravel() for one in alike])
    last = [f'{value:.4f}' for value in curve.by_group[-1]]
    picture = functools.partial(
      pictures.curve,
      of=curve,
      limits=(float(np.nanmin(values)), float(np.nanmax(values))),
    )
    alt = (
      f'{curve.split} {pictures.metric_name(curve.metric)} of {name} over'
      f' {len(curve.epochs)} epochs; at the end {", ".join(last)}'
    )
    figures.append(section.Figure(name, drawings.picture(picture, alt)))
  if not figures:
    return None
  most = max(curve.by_group.shape[1] for _, curve in phases)
  return section.Section(
    key='training',
    title='Training curves',
    lead='What was measured on held-out items after each epoch, a line for'
    ' every group where it was measured by group. A line that still moves at'
    ' its end asks for more epochs, one that has turned for fewer.',
    legend=_groups_legend(most) if most > 1 else (),
    figures=figures,
  )


def _phase(name: str, curve: curves_lib.Curve) -> str:
  return f'{name}, {curve.name}' if curve.name else name


def cosines(content: Content) -> section.Section | None:
  """Cosines of the gradients of groups, where a run recorded them."""
  figures, number = [], 0
  for name, run in content.models.items():
    for curve in curves_lib.of_run(run):
      if curve.cosines.ndim != 3 or curve.cosines.shape[-1] < 2:
        continue
      number, last = curve.cosines.shape[-1], curve.cosines[-1]
      figures += [
        section.Figure(
          _phase(name, curve),
          drawings.picture(
            functools.partial(pictures.cosines, of=curve),
            f'Mean cosine of the gradient of each group with the others, of'
            f' {name} over {len(curve.diagnosed)} epochs',
          ),
        ),
        section.Figure(
          f'{_phase(name, curve)}: pairs, epoch {curve.diagnosed[-1]}',
          drawings.picture(
            functools.partial(pictures.pairs, matrix=last),
            f'Cosines of the gradients of pairs of groups of {name} in the last'
            f' epoch, from {_least(last):+.2f} to {_least(-last) * -1:+.2f}',
          ),
        ),
      ]
  if not figures:
    return None
  return section.Section(
    key='gradients',
    title='Where groups pull',
    lead='The cosine of two gradients is 1 where two groups want the same'
    ' change of the model, 0 where they do not touch each other and below 0'
    ' where a step for one harms the other. A line is the mean of a group with'
    ' all others, by epoch; the squares are single pairs in the last epoch,'
    ' blue for agreement and orange for conflict.',
    legend=_groups_legend(number),
    figures=figures,
  )


def _least(matrix: np.ndarray) -> float:
  """The least of the pairs of different groups."""
  return float(np.min(matrix[np.tril_indices(len(matrix), -1)]))


def moved_states(run: compared_runs.Run) -> dict[str, Any] | None:
  """The curves of `pictures.moved`; None of states that stand still."""
  threshold = run.report.get('two_time', {}).get('threshold')
  path = pathlib.Path(run.workdir) / online_rows.NAME
  if threshold is None or not path.is_file():
    return None
  rows = online_rows.read(run.workdir).model
  if not np.any(np.asarray(rows['movement']) > 0):
    return None
  return movement_lib.curves(rows, threshold)


def movement(content: Content) -> section.Section | None:
  """How far the states of users move, where there are any."""
  figures = []
  for name, run in content.models.items():
    moved = moved_states(run)
    if moved is None:
      continue
    figures.append(
      section.Figure(
        name,
        drawings.picture(
          functools.partial(pictures.moved, curves=moved),
          f'Movement of the states of {name} by the number of the test event,'
          ' for inactive and for active users',
        ),
      )
    )
  if not figures:
    return None
  return section.Section(
    key='movement',
    title='How far states move',
    lead='Each event of a user moves the vector that stands for this user. The'
    ' line is the mean length of that step by the number of the event, with'
    ' one standard error. Users above the threshold t* of training events are'
    ' active. Steps of new users should be large at first and then shrink.',
    legend=[
      (f'{kind} users', drawings.style(i))
      for i, kind in enumerate(('inactive', 'active'))
    ],
    figures=figures,
  )
