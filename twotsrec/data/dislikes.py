"""What becomes of rows that are rated too low for an event."""

from twotsrec import types
from twotsrec.data import prepared as prepared_lib

LOW = 'rating below'  # begins the cause of such rows in a report


def rule(data: prepared_lib.Prepared) -> str:
  """What becomes of such rows, see `interactions.Filters`.

  Older data have no word for it, and forgot them.
  """
  filters = data.manifest['options'].get('filters') or {}
  return filters.get('dislikes', 'drop')


def teaches(data: prepared_lib.Prepared) -> bool:
  """Whether items that were rated too low are trained against."""
  return data.disliked_items is not None and rule(data) == 'negatives'


def refuse(data: prepared_lib.Prepared, reader: str) -> None:
  """Raises UserError for dislikes to train against where nothing does so."""
  if teaches(data):
    raise types.UserError(
      f'{data.path or "the log"} was prepared with --dislikes=negatives, which '
      f'{reader} does not read; prepare it with --dislikes=seen'
    )


def forgotten(data: prepared_lib.Prepared) -> int:
  """Rows that were rated too low for an event, and are known no more."""
  dropped = data.manifest['report'].get('dropped', {})
  if rule(data) != 'drop':
    return 0
  return sum(
    rows['count'] for cause, rows in dropped.items() if cause.startswith(LOW)
  )
