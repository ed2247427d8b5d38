"""Lines under the table of a report, about what is ranked and what is not."""

from collections.abc import Mapping
from typing import Any

from twotsrec.evaluation import protocols
from twotsrec.evaluation import report


def catalog_note(protocol: Mapping[str, Any], chosen: bool) -> str:
  """Why what a user had competes, and how it would not.

  Args:
    protocol: of a report, under 'catalog'.
    chosen: whether the model reads evaluation.candidates.
  """
  said = (
    'catalog: every other item competes, those of the user too, since'
    f' {protocol["had_before"]:.1%} of the held-out items are among them'
  )
  if not chosen or protocol['had_before'] == 1:  # then there is no other one
    return said
  of_new = protocols.of_new(protocol.get('behaviors', ()))
  return f'{said} (evaluation.candidates={of_new} ranks the new ones alone)'


def rival_notes(part: Mapping[str, Any], chosen: bool = True) -> list[str]:
  """Lines under a table about held-out items that lack rivals.

  Args:
    part: of a report.
    chosen: whether the model reads evaluation.candidates.
  """
  told = part.get('rivals')
  if not told:
    return []
  lines, total = [], f'of {told["held_out"]:,} held-out items'
  if told['had_before']:
    lines.append(
      f'{told["had_before"]:,} {total} are not ranked: their users had them'
      ' before, and what a user had does not compete'
      + ' (evaluation.candidates=catalog ranks all)'
      * chosen
    )
  if told['without'] and report.LOG_LOSS in part.get('overall', {}):
    lines.append(
      f'{told["without"]:,} {total} are clicks of users who were shown nothing'
      ' else in the split: they are in the pooled AUC and the log loss alone'
    )
  elif told['without']:
    lines.append(
      f'{told["without"]:,} {total} have no rival and are not ranked: their'
      ' users have had every other item'
    )
  few = [
    f'{count:,} fewer than {k}'
    for k, count in told['fewer_than'].items()
    if count
  ]
  if few:
    lines.append(
      f'rivals {total}: {", ".join(few)}; at such a K an item is found by any'
      ' model'
    )
  return lines
