"""Claims on 2TS; see `claims`.

Differences are paired, with 95 % intervals over users, of MRR and Recall@10
among 1 + 499 candidates with the past among them (2TS sec. 4).
"""

from collections.abc import Mapping, Sequence
import statistics

from twotsrec.studies import claims as claims_lib
from twotsrec.studies import document
from twotsrec.studies import online_measures as measures
from twotsrec.studies import results

_MRR, _RECALL = (measures.key(metric) for metric in measures.METRICS)
_signed, _plain = document.difference, document.plain


def above(
  number: str, text: str, system: str, others: Sequence[str]
) -> claims_lib.Claim:
  """A system is above all others, by both metrics."""

  def judge(evidence: claims_lib.Evidence) -> claims_lib.Judged:
    rows, said, missing = [], [], []
    for other in others:
      measured = evidence.systems.get(other)
      against = measured.against.get(system) if measured else None
      if against is None:
        missing.append(evidence.name(other))
        continue
      mrr, recall = (against[key].negative() for key in (_MRR, _RECALL))
      rows += [mrr, recall]
      said.append(
        f'by {_signed(mrr)} of MRR and {_signed(recall)} of Recall@10 above'
        f' {evidence.name(other)}'
      )
    judged = claims_lib.Judged(text, number=number)
    if not rows:
      return judged
    if missing:
      said.append(f'not trained: {", ".join(missing)}')
    verdict, detail = claims_lib.verdict(rows), '; '.join(said)
    return judged._replace(verdict=verdict, detail=detail)

  return judge


def slower(number: str, text: str, system: str, other: str) -> claims_lib.Claim:
  """An epoch of a system takes longer than one of all parts of another."""

  def judge(evidence: claims_lib.Evidence) -> claims_lib.Judged:
    judged = claims_lib.Judged(text, number=number)
    measured = [evidence.systems.get(name) for name in (system, other)]
    runs = [of.trainings or [] for of in measured if of is not None]
    if len(runs) < 2:
      return judged
    one, two = (statistics.fmean(r.epoch_seconds for r in of) for of in runs)
    return judged._replace(
      verdict=claims_lib.HOLDS if one > two else claims_lib.FAILS,
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
) -> claims_lib.Claim:
  """The gain over the best of the others is larger for one kind of users.

  Args:
    number: of the sentence.
    systems: the first that has finished, or the last, is the one that gains.
    others: the best of these by MRR is the baseline.
    kinds: {dataset: (who gains more, the paper's data of that kind)}.
    otherwise: the same on other datasets.
  """

  def judge(evidence: claims_lib.Evidence) -> claims_lib.Judged:
    wanted, data = kinds.get(evidence.place, otherwise)
    text = f'gain larger for {wanted} users, as on {data}'
    judged = claims_lib.Judged(text, number=number)
    trained, name = evidence.more.systems, evidence.name
    system = next((s for s in systems if s in trained), None)
    baselines = [other for other in others if other in trained]
    if system is None or not baselines:
      return judged
    mrr = lambda name: trained[name].cells[_MRR].value
    best = max(baselines, key=mrr)
    if not measures.shared_seeds(trained[system], trained[best]):
      return judged
    gain = measures.gain_difference(
      trained[system], trained[best], 'mrr', evidence.more.resamples
    )
    detail = (
      f'{name(system)} over {name(best)}, the best of the others by MRR'
      f' ({mrr(system) / mrr(best) - 1.0:+.1%} for all):'
      f' {_plain(gain.inactive)} for inactive and {_plain(gain.active)} for'
      f' active users, {_signed(gain)} between them'
    )
    return _of_kinds(judged, gain, detail, wanted)

  return judge


def moves_more(number: str, text: str, system: str) -> claims_lib.Claim:
  """States of inactive users move more than those of active ones (fig. 4)."""

  def judge(evidence: claims_lib.Evidence) -> claims_lib.Judged:
    judged, more = claims_lib.Judged(text, number=number), evidence.more
    if system not in more.systems:
      return judged
    moved, relative = (
      measures.movement_difference(
        more.systems[system], more.threshold, more.resamples, how
      )
      for how in (False, True)
    )
    detail = (
      f'a test event moves them by {_plain(moved.inactive)} against'
      f' {_plain(moved.active)}, {_signed(moved)} between them; relative to'
      f' their length {_plain(relative.inactive)} against'
      f' {_plain(relative.active)}, {_signed(relative)}'
    )
    return _of_kinds(judged, moved, detail, measures.KINDS[0])

  return judge


def _of_kinds(judged, between, detail, wanted) -> claims_lib.Judged:
  """Whether the wanted kind of users has more."""
  if between.difference is None:
    return judged._replace(detail=detail)
  row = results.Difference(between.difference, between.low, between.high)
  row = row if wanted == measures.KINDS[0] else row.negative()
  return judged._replace(verdict=claims_lib.verdict([row]), detail=detail)
