"""Claims on 2TS: functions of `online.Evidence` that give a verdict.

Differences are paired, with 95 % intervals over users, of MRR and Recall@10
among 1 + 499 candidates with the past among them (2TS sec. 4).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from twotsrec.studies import claims as claims_lib
from twotsrec.studies import document
from twotsrec.studies import online

RULE = 'expected'
_signed, _plain = document.difference, document.plain


class Judged(NamedTuple):
  """A sentence of the paper with its verdict.

  Attributes:
    number: of the sentence.
    text: of it.
    verdict: of `claims`; None without runs.
    detail: the differences behind it.
  """

  number: str
  text: str
  verdict: str | None = None
  detail: str = ''


Claim = Callable[[online.Evidence], Judged]


def above(number: str, text: str, system: str, others: Sequence[str]) -> Claim:
  """A system is above all others, by both metrics."""

  def judge(evidence: online.Evidence) -> Judged:
    minus = evidence.against(system) if system in evidence.systems else {}
    rows, said, missing = [], [], []
    for other in others:
      if other not in minus:
        missing.append(evidence.name(other))
        continue
      mrr, recall = (
        _everybody(minus[other][RULE, metric]).negative()
        for metric in online.METRICS
      )
      rows += [mrr, recall]
      said.append(
        f'by {_signed(mrr)} of MRR and {_signed(recall)} of Recall@10 above'
        f' {evidence.name(other)}'
      )
    if not rows:
      return Judged(number, text)
    if missing:
      said.append(f'not trained: {", ".join(missing)}')
    return Judged(number, text, claims_lib.verdict(rows), '; '.join(said))

  return judge


def _everybody(rows):
  return next(row for row in rows if row.row == 'all')


def slower(number: str, text: str, system: str, other: str) -> Claim:
  """An epoch of a system takes longer than one of all parts of another."""

  def judge(evidence: online.Evidence) -> Judged:
    if not {system, other} <= {*evidence.systems}:
      return Judged(number, text)
    one, two = (
      online.mean_timing(evidence.systems[s], 'epoch_seconds')
      for s in (system, other)
    )
    verdict = claims_lib.HOLDS if one > two else claims_lib.FAILS
    return Judged(
      number,
      text,
      verdict,
      f'{one:.2f} s for an epoch against {two:.2f} s for one of stage 1 and of'
      ' both networks, as the clock had it',
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

  def judge(evidence: online.Evidence) -> Judged:
    wanted, data = kinds.get(evidence.dataset, otherwise)
    trained, name = evidence.systems, evidence.name
    judged = Judged(number, f'gain larger for {wanted} users, as on {data}')
    system = next((s for s in systems if s in trained), None)
    baselines = [other for other in others if other in trained]
    if system is None or not baselines:
      return judged
    mrr = lambda name: online.cell(trained[name], RULE, 'mrr').value
    best = max(baselines, key=mrr)
    if not online.shared_seeds(trained[system], trained[best]):
      return judged
    gain = online.gain_difference(
      trained[system], trained[best], (RULE, 'mrr'), evidence.resamples
    )
    detail = (
      f'{name(system)} over {name(best)}, the best of the others by MRR'
      f' ({mrr(system) / mrr(best) - 1.0:+.1%} for all):'
      f' {_plain(gain.inactive)} for inactive and {_plain(gain.active)} for'
      f' active users, {_signed(gain)} between them'
    )
    return _of_kinds(judged, gain, detail, wanted)

  return judge


def moves_more(number: str, text: str, system: str) -> Claim:
  """States of inactive users move more than those of active ones (fig. 4)."""

  def judge(evidence: online.Evidence) -> Judged:
    judged = Judged(number, text)
    if system not in evidence.systems:
      return judged
    moved, relative = (
      online.movement_difference(
        evidence.systems[system], evidence.threshold, evidence.resamples, how
      )
      for how in (False, True)
    )
    detail = (
      f'a test event moves them by {_plain(moved.inactive)} against'
      f' {_plain(moved.active)}, {_signed(moved)} between them; relative to'
      f' their length {_plain(relative.inactive)} against'
      f' {_plain(relative.active)}, {_signed(relative)}'
    )
    return _of_kinds(judged, moved, detail, online.KINDS[0])

  return judge


def _of_kinds(judged, between, detail, wanted) -> Judged:
  """Whether the wanted kind of users has more."""
  if between.difference is None:
    return judged._replace(detail=detail)
  row = claims_lib.Difference(
    'all', between.difference, between.low, between.high
  )
  row = row if wanted == online.KINDS[0] else row.negative()
  return judged._replace(verdict=claims_lib.verdict([row]), detail=detail)
