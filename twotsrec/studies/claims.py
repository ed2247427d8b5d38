"""Sentences of a paper as paired differences, and verdicts on them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from twotsrec.recipes import compare

HOLDS, FAILS, OPEN = 'holds', 'does not hold', 'not decided'


class Claim(NamedTuple):
  """A paper's sentence as a difference that should be above 0.

  Attributes:
    text: the sentence.
    other: system that should be above.
    reference: system it is above of.
    metric: of a report.
    rows: 'groups', 'first', 'last' or 'all' users.
  """

  text: str
  other: str
  reference: str
  metric: str
  rows: str


_ROWS = {
  'groups': slice(0, -2),
  'first': slice(0, 1),
  'last': slice(-3, -2),
  'all': slice(-2, -1),
}


class Difference(NamedTuple):
  """Other minus reference in a row of a comparison; None if undefined.

  Attributes:
    row: number of a group, name of a part, 'all', or the mean of the groups.
    difference: of the means over seeds.
    low: end of the paired 95 % interval over users.
    high: the other end.
    by_seed: difference of each seed.
  """

  row: int | str
  difference: float | None
  low: float | None
  high: float | None
  by_seed: tuple[float | None, ...] = ()

  def negative(self) -> 'Difference':
    """Reference minus other; a tie is +0."""
    turn = lambda value: None if value is None else 0.0 - value
    return self._replace(
      difference=turn(self.difference),
      low=turn(self.high),
      high=turn(self.low),
      by_seed=tuple(map(turn, self.by_seed)),
    )


class Compared(NamedTuple):
  """Systems against a reference, over the seeds that they share.

  Attributes:
    by: 'groups' or 'parts'.
    seeds: shared ones.
    result: of `compare.compare`.
  """

  by: str
  seeds: list[int]
  result: dict[str, Any]


class Judged(NamedTuple):
  """A claim with its verdict.

  Attributes:
    claim: which.
    verdict: None without finished runs.
    rows: differences it rests on.
    seeds: number of seeds.
    seeds_with_it: those in which every difference is above 0.
  """

  claim: Claim
  verdict: str | None = None
  rows: tuple[Difference, ...] = ()
  seeds: int = 0
  seeds_with_it: int = 0


def compare_pairs(
  workdirs: Mapping[str, Mapping[int, str]],
  reference: str,
  others: Sequence[str],
  resamples: int,
  metrics: Sequence[str],
  by: str = 'groups',
) -> list[Compared]:
  """`compare.compare` of finished seeds that two systems share.

  Args:
    workdirs: {system: {seed: directory of a finished run}}.
    reference: system the others are compared with.
    others: those without a common seed are left out.
    resamples: of users.
    metrics: names in a report.
    by: as in `compare.compare`.
  Returns:
    One result for each set of seeds.
  """
  by_seeds: dict[tuple[int, ...], list[str]] = {}
  for other in others:
    first, second = (workdirs.get(name, {}) for name in (reference, other))
    shared = tuple(seed for seed in first if seed in second)
    if shared:
      by_seeds.setdefault(shared, []).append(other)
  made = []
  for seeds, chosen in by_seeds.items():
    runs = {s: [workdirs[s][k] for k in seeds] for s in (reference, *chosen)}
    result = compare.compare(runs, metrics, resamples, by=by)
    made.append(Compared(by, list(seeds), result))
  return made


def differences(
  compared: Iterable[Compared],
  other: str,
  reference: str,
  metric: str,
  by: str = 'groups',
) -> tuple[Difference, ...]:
  """Rows of a pair of systems; () if no run of the pair has finished."""
  for pair in compared:
    result = pair.result
    metrics = result['comparisons'].get(other)
    if (pair.by, result['reference']) == (by, reference) and metrics:
      return tuple(difference(row) for row in metrics[metric])
  return ()


def difference(row: Mapping[str, Any]) -> Difference:
  """A row of `comparison.rows` as a record."""
  return Difference(
    row=row['group'],
    difference=row['difference'],
    low=row['low'],
    high=row['high'],
    by_seed=tuple(row['by_seed']),
  )


def judge(claim: Claim, compared: Sequence[Compared]) -> Judged:
  """The verdict of paired differences on a claim."""
  rows = differences(compared, claim.other, claim.reference, claim.metric)
  rows = rows[_ROWS[claim.rows]]
  if not rows:
    return Judged(claim)
  by_seed = zip(*(row.by_seed for row in rows))
  above = [all(d is not None and d > 0 for d in seed) for seed in by_seed]
  return Judged(claim, verdict(rows), rows, len(above), sum(above))


def verdict(rows: Sequence[Difference]) -> str:
  """Whether all differences are above 0, by their 95 % intervals.

  It holds if every interval is above 0, and does not if one is below.
  """
  ends = [(r.low, r.high) for r in rows if None not in (r.low, r.high)]
  if any(high < 0 for _, high in ends):
    return FAILS
  above = all(low > 0 for low, _ in ends)
  return HOLDS if ends and len(ends) == len(rows) and above else OPEN


def renamed(pair: Compared, name: Callable[[str], str]) -> dict[str, Any]:
  """The result of a pair with other names of its systems."""
  result = pair.result
  named = {
    field: {name(system): value for system, value in result[field].items()}
    for field in ('systems', 'comparisons')
  }
  return {
    **result,
    **named,
    'reference': name(result['reference']),
    'selected_on_test': [name(s) for s in result['selected_on_test']],
  }
