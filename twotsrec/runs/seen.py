"""Whether lists leave out what a user has, as the evaluation of the run did."""

from collections.abc import Mapping
from typing import Any

from twotsrec.evaluation import behaviors
from twotsrec.evaluation import protocols
from twotsrec.training import files
from twotsrec.training import run_directory


def leave_out(workdir: str, asked: bool | None = None) -> tuple[bool, str]:
  """Whether lists of a run leave out what a user has.

  Args:
    workdir: of a finished run.
    asked: by the user; None is as the evaluation did. Where it ranked items
      that their users had, such items stay.
  Returns:
    The answer, and in words how lists and evaluation differ, or what stays; ''
    where there is nothing to say.
  """
  report = files.read_json(run_directory.report_path(workdir))
  again = share(report.get('test') or report.get('validation') or {})
  out = not were_ranked(report['protocol']) if asked is None else asked
  evaluated = (
    f'{again:.1%} of the ranked held-out items are such, its row'
    f' {behaviors.AGAIN!r}'
  )
  if not out and asked is None:
    return out, (
      f'items a user has may be among them, as in the evaluation ({evaluated});'
      ' --exclude_seen leaves them out'
    )
  if out and again:
    return out, (
      f'items a user has are left out, unlike in the evaluation ({evaluated});'
      ' --noexclude_seen lists them too'
    )
  return out, ''


def were_ranked(protocol: Mapping[str, Any]) -> bool:
  """Whether an evaluation ranked items that their users had."""
  return protocol.get('candidates') == protocols.CATALOG


def share(part: Mapping[str, Any]) -> float:
  """Ranked held-out items of a report that their users had, of all ranked."""
  counts = {row['name']: row['mrr']['count'] for row in part.get('parts', ())}
  return counts.get(behaviors.AGAIN, 0) / max(sum(counts.values()), 1)
