"""What the documents on all papers have in common, in Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import pathlib
from typing import Any

from twotsrec.training import files

# Heads of `run_cells`.
RUN_HEAD = ('epochs', 'selected', 'training seconds', 'evaluation seconds')
_COUNTS = ('epochs', 'selected_epoch')
_SECONDS = ('seconds', 'evaluation_seconds')


def write(
  result: Mapping[str, Any], text: str, folder: pathlib.Path, name: str
) -> pathlib.Path:
  """Writes NAME.md, and the numbers to NAME.json; returns the first."""
  files.write_json(folder / f'{name}.json', result)
  path = folder / f'{name}.md'
  with files.explained(path, 'write'), files.replacing(path) as file:
    file.write(text.encode())
  return path


def join(
  head: Sequence[str],
  result: Mapping[str, Any],
  of_dataset: Callable[[str, Any], Iterable[str]],
) -> str:
  """Paragraphs, then a chapter for every dataset.

  Args:
    head: paragraphs before the time it took.
    result: with 'datasets' {name: what is found, or None} and 'missing'.
    of_dataset: (name, what is found) -> paragraphs.
  """
  blocks = [*head, _time(result)]
  for name, found in result['datasets'].items():
    blocks.append(f'## {name}')
    if found is None:
      blocks.append('No run has finished.')
    else:
      blocks += of_dataset(name, found)
  return '\n\n'.join(blocks) + '\n'


def _time(result):
  known = [found for found in result['datasets'].values() if found]
  rows = [row for found in known for row in found['runs']]
  done = [row for row in rows if row['seconds'] is not None]
  devices = ', '.join(sorted({row['device'] for row in done}))
  total = sum(row['seconds'] for row in done)
  missing = result['missing']
  left = f'; {missing} are missing, their cells are -' if missing else ''
  return (
    f'{len(done)} runs took {total:,.0f} seconds of training on'
    f' {devices}{left}.'
  )


def about(found: Mapping[str, Any], protocol: str) -> str:
  """Counts of a dataset, how it is ranked, and its groups."""
  data = found['data']
  spans = ', '.join(
    f'{group["users"]:,} ({group["min_activity"]}-{group["max_activity"]})'
    for group in found['groups']
  )
  return (
    f'{data["users"]:,} users, {data["items"]:,} items, {data["events"]:,}'
    f' interactions; {protocol}. Users by group, with their training'
    f' interactions: {spans}.'
  )


def run_cells(row: Mapping[str, Any]) -> list[str]:
  """A run's epochs and seconds, under `RUN_HEAD`."""
  return [
    *('-' if row[name] is None else str(row[name]) for name in _COUNTS),
    *('-' if row[name] is None else f'{row[name]:,.0f}' for name in _SECONDS),
  ]


def commands(lines: Iterable[str]) -> str:
  """The lines that train single runs."""
  shown = '\n'.join(lines)
  return f'Each run alone, for the first seed:\n\n```\n{shown}\n```'


def difference(row: Mapping[str, Any]) -> str:
  """Of a row of a comparison, with its interval."""
  if row['difference'] is None or row['low'] is None:
    return '-'
  return f'{row["difference"]:+.4f} ({row["low"]:+.4f} to {row["high"]:+.4f})'


def cell(found: Mapping[str, float | None]) -> str:
  """A value of a report with its interval, if it has one."""
  if found['value'] is None or found['low'] is None:
    return plain(found['value'])
  return f'{found["value"]:.4f} ({found["low"]:.4f} to {found["high"]:.4f})'


def plain(value: float | None) -> str:
  """A value alone."""
  return '-' if value is None else f'{value:.4f}'
