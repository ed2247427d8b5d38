"""Sentences of a paper, and verdicts on them by paired differences.

A claim is a function of an `Evidence`; it gives None where the study plans no
run that could decide it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from twotsrec.studies import results

HOLDS, FAILS, OPEN = 'holds', 'does not hold', 'not decided'


class Evidence(NamedTuple):
  """What claims are judged by.

  Attributes:
    systems: by name; None if no run has finished.
    name: system -> its name in the tables.
    place: name of the dataset.
    more: of the kind of ranking.
  """

  systems: Mapping[str, results.Measured | None]
  name: Callable[[str], str] = str
  place: str = ''
  more: Any = None


class Judged(NamedTuple):
  """A sentence with its verdict.

  Attributes:
    text: the sentence.
    verdict: None without finished runs.
    rows: differences it rests on, by users.
    number: of the sentence, if it has one.
    detail: what stands behind the verdict, in words.
  """

  text: str
  verdict: str | None = None
  rows: Mapping[str, results.Difference] = {}
  number: str = ''
  detail: str = ''


Claim = Callable[[Evidence], Judged | None]
_ROWS = {
  'groups': slice(None), 'first': slice(0, 1), 'last': slice(-1, None)
}  # fmt: skip


def exceeds(
  text: str, system: str, reference: str, metric: str, users: str
) -> Claim:
  """A system is above another.

  Args:
    text: the sentence.
    system: that should be above.
    reference: that should be below.
    metric: of a report.
    users: 'all', every one of the 'groups', the 'first' group or the 'last'.
  """

  def judge(evidence: Evidence) -> Judged | None:
    if not {system, reference} <= {*evidence.systems}:
      return None
    measured = evidence.systems[system]
    against = measured.against.get(reference, {}) if measured else {}
    rows = {key[-1]: row for key, row in against.items() if key[0] == metric}
    if users != results.ALL:
      names = [name for name in rows if name.startswith('group ')]
      rows = {name: rows[name] for name in names[_ROWS[users]]}
    elif rows:
      rows = {results.ALL: rows[results.ALL]}
    return Judged(text, verdict(rows.values()) if rows else None, rows)

  return judge


def judge(claims: Sequence[Claim], evidence: Evidence) -> list[Judged]:
  """The claims that the evidence can decide, once its runs have finished."""
  judged = (claim(evidence) for claim in claims)
  return [one for one in judged if one is not None]


def verdict(rows: Iterable[results.Difference]) -> str:
  """Whether all differences are above 0, by their 95 % intervals.

  It holds if every interval is above 0, and does not if one is below.
  """
  rows = list(rows)
  ends = [
    (row.low, row.high)
    for row in rows
    if row.low is not None and row.high is not None
  ]
  if any(high < 0 for _, high in ends):
    return FAILS
  above = all(low > 0 for low, _ in ends)
  return HOLDS if ends and len(ends) == len(rows) and above else OPEN


def seeds(judged: Judged) -> tuple[int, int]:
  """Number of seeds in which every difference is above 0, and of all."""
  by_seed = zip(*(row.by_seed for row in judged.rows.values()))
  above = [all(d is not None and d > 0 for d in seed) for seed in by_seed]
  return sum(above), len(above)
