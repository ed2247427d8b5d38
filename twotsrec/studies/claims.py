"""Sentences of a paper, and verdicts on them by paired differences.

A claim is a function of an `Evidence`; it gives None where the study plans no
run that could decide it. Those on 2TS rest on MRR and Recall@10 among 1 + 499
candidates with the past among them (2TS sec. 4).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import statistics
from typing import NamedTuple

from twotsrec.studies import results

HOLDS, FAILS, OPEN = 'holds', 'does not hold', 'not decided'


class Between(NamedTuple):
  """A value of both kinds of users; None where it is undefined."""

  inactive: float | None
  active: float | None
  minus: results.Difference  # inactive minus active


class Evidence(NamedTuple):
  """What claims are judged by."""

  # By name; None, or missing, if no run has finished.
  systems: Mapping[str, results.Measured | None]
  name: Callable[[str], str] = str  # system -> its name in the tables
  place: str = ''  # name of the dataset
  # (system, baseline) -> the gain of MRR; None without a common seed
  gain: Callable[[str, str], Between | None] = lambda system, baseline: None
  # (system, relative) -> how far test events move states, perhaps relative to
  # their length
  moved: Callable[[str, bool], Between | None] = lambda system, relative: None
  # {system: the one whose run stands for it}; others stand for themselves
  same: Mapping[str, str] = {}


class Judged(NamedTuple):
  """A sentence with its verdict."""

  text: str
  verdict: str | None = None  # None without finished runs
  rows: Mapping[str, results.Difference] = {}  # it rests on, by users
  number: str = ''  # of the sentence, if it has one
  detail: str = ''  # what stands behind the verdict, in words


_plain, _signed = results.plain, results.signed

Claim = Callable[[Evidence], Judged | None]


def judge(claims: Sequence[Claim], evidence: Evidence) -> list[Judged]:
  """The claims that the evidence can decide, once its runs have finished."""
  judged = (claim(evidence) for claim in claims)
  return [one for one in judged if one is not None]


def verdict(rows: Iterable[results.Difference]) -> str:
  """Whether all differences are above 0, by their 95 % intervals.

  It holds if every interval is above 0, and does not if one is below.
  """
  rows = list(rows)
  if any(row.high is not None and row.high < 0 for row in rows):
    return FAILS
  above = [row.low is not None and row.low > 0 for row in rows]
  return HOLDS if rows and all(above) else OPEN


def seeds(judged: Judged) -> tuple[int, int]:
  """Number of seeds in which every difference is above 0, and of all."""
  by_seed = zip(*(row.by_seed for row in judged.rows.values()))
  above = [all(d is not None and d > 0 for d in seed) for seed in by_seed]
  return sum(above), len(above)


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
    other = evidence.same.get(reference, reference)
    against = measured.against.get(other, {}) if measured else {}
    rows = {key[-1]: row for key, row in against.items() if key[0] == metric}
    groups = [place for place in rows if place.startswith('group ')]
    chosen = {
      'all': [results.ALL], 'groups': groups, 'first': groups[:1],
      'last': groups[-1:],
    }[users]  # fmt: skip
    rows = {place: rows[place] for place in chosen if place in rows}
    return Judged(text, verdict(rows.values()) if rows else None, rows)

  return judge


def above(
  number: str,
  text: str,
  system: str,
  others: Sequence[str],
  where: str = 'above',
) -> Claim:
  """A system is above all others by both metrics, or 'below' them.

  The system is one of the references of the study. It is known to be the last
  once all are trained.
  """

  def judge(evidence: Evidence) -> Judged:
    found, missing = _against(evidence, system, others, ('mrr', 'recall@10'))
    rows, said = [], []
    for name, pair in found.items():
      mrr, recall = (
        row.negative() if where == 'above' else row for row in pair
      )
      rows += [mrr, recall]
      said.append(
        f'by {_signed(mrr)} of MRR and {_signed(recall)} of Recall@10 {where}'
        f' {name}'
      )
    if not rows:
      return Judged(text, number=number)
    how = verdict(rows)
    if where == 'below' and missing and how == HOLDS:
      how = OPEN
    detail = '; '.join((*said, *missing))
    return Judged(text, how, number=number, detail=detail)

  return judge


def among_best(
  number: str, text: str, system: str, others: Sequence[str], places: int
) -> Claim:
  """A system has one of the first places by MRR, beside the others.

  It holds if so many others are below that it must have one, those that are not
  trained not being so, and does not if as many as there are places are above.
  """

  def judge(evidence: Evidence) -> Judged:
    found, missing = _against(evidence, system, others, ('mrr',))
    if not found:
      return Judged(text, number=number)
    higher = {n: r for n, (r,) in found.items() if verdict([r]) == HOLDS}
    lower = [n for n, (r,) in found.items() if verdict([r]) == FAILS]
    how = OPEN
    if len(higher) >= places:
      how = FAILS
    elif len(others) - len(lower) < places:
      how = HOLDS
    said = [f'{n} is above it by {_signed(r)}' for n, r in higher.items()]
    counted = f'{len(lower)} of {len(found)} are below it by MRR'
    detail = '; '.join((counted, *said, *missing))
    return Judged(text, how, number=number, detail=detail)

  return judge


def _against(evidence, system, others, metrics):
  """Others minus a system by their names, and words for those without a run."""
  found, missing = {}, []
  for other in others:
    measured = evidence.systems.get(other)
    against = measured.against.get(system) if measured else None
    if against is None:
      missing.append(evidence.name(other))
    else:
      rows = [against[results.key(metric)] for metric in metrics]
      found[evidence.name(other)] = rows
  return found, [f'not trained: {", ".join(missing)}'] if missing else []


def too_large(
  number: str, text: str, what: str, needed: Callable[[], int], there: int
) -> Claim:
  """Something needs more bytes than there are, which no run has to show."""

  def judge(evidence: Evidence) -> Judged:
    del evidence
    size = needed()
    detail = f'{what} take {size:,} bytes, and there are {there:,}'
    how = HOLDS if size > there else FAILS
    return Judged(text, how, number=number, detail=detail)

  return judge


def slower(number: str, text: str, system: str, other: str) -> Claim:
  """An epoch of a system takes longer than one of all parts of another."""

  def judge(evidence: Evidence) -> Judged:
    measured = [evidence.systems.get(name) for name in (system, other)]
    runs = [of.trainings or [] for of in measured if of is not None]
    if len(runs) < 2:
      return Judged(text, number=number)
    one, two = (statistics.fmean(r.epoch_seconds for r in of) for of in runs)
    return Judged(
      text,
      verdict=HOLDS if one > two else FAILS,
      number=number,
      detail=f'{one:.2f} s for an epoch against {two:.2f} s for one of stage 1'
      ' and of both networks, as the clock had it',
    )

  return judge


def gains_more(
  number: str,
  systems: Sequence[str],
  others: Sequence[str],
  kinds: Mapping[str, tuple[str, str]],
  otherwise: tuple[str, str],
) -> Claim:
  """The gain over the best of the others is larger for one kind of users.

  Args:
    number: of the sentence.
    systems: the first that has finished, or the last, is the one that gains.
    others: the best of these by MRR is the baseline.
    kinds: {dataset: (who gains more, the paper's data of that kind)}.
    otherwise: the same on other datasets.
  """

  def judge(evidence: Evidence) -> Judged:
    wanted, data = kinds.get(evidence.place, otherwise)
    text = f'gain larger for {wanted} users, as on {data}'
    mrr = {
      system: measured.cells[results.key('mrr')].value or 0.0
      for system, measured in evidence.systems.items()
      if measured is not None
    }
    system = next((s for s in systems if s in mrr), None)
    best = max((s for s in others if s in mrr), key=mrr.__getitem__, default='')
    gain = evidence.gain(system, best) if system and best else None
    if system is None or gain is None:
      return Judged(text, number=number)
    name = evidence.name
    detail = (
      f'{name(system)} over {name(best)}, the best of the others by MRR'
      f' ({mrr[system] / mrr[best] - 1.0:+.1%} for all):'
      f' {_plain(gain.inactive)} for inactive and {_plain(gain.active)} for'
      f' active users, {_signed(gain.minus)} between them'
    )
    return Judged(text, _of_kinds(gain, wanted), number=number, detail=detail)

  return judge


def moves_more(number: str, text: str, system: str) -> Claim:
  """States of inactive users move more than those of active ones (fig. 4)."""

  def judge(evidence: Evidence) -> Judged:
    if system not in evidence.systems:
      return Judged(text, number=number)
    moved, relative = (evidence.moved(system, of) for of in (False, True))
    if moved is None or relative is None:
      return Judged(text, number=number)
    detail = (
      f'a test event moves them by {_plain(moved.inactive)} against'
      f' {_plain(moved.active)}, {_signed(moved.minus)} between them; relative'
      f' to their length {_plain(relative.inactive)} against'
      f' {_plain(relative.active)}, {_signed(relative.minus)}'
    )
    how = _of_kinds(moved, results.KINDS[0])
    return Judged(text, how, number=number, detail=detail)

  return judge


def _of_kinds(between: Between, wanted: str) -> str | None:
  """Whether the wanted kind of users has more; None if undefined."""
  row = between.minus
  if row.difference is None:
    return None
  return verdict([row if wanted == results.KINDS[0] else row.negative()])
