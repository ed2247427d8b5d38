"""Flags of the scripts that set finished runs beside each other."""

from typing import Any, NamedTuple

from absl import flags

import cli


class Flags(NamedTuple):
  """Holders of the flags."""

  runs: Any
  names: Any
  metrics: Any
  resamples: Any
  seed: Any

  def systems(self) -> dict[str, list[str]]:
    """Run directories by system, as `runs.compare` takes them."""
    from twotsrec.runs import compare

    return compare.systems(cli.required(self.runs), self.names.value)


def define() -> Flags:
  """Defines them; for --help a script adopts the key flags of this module."""
  return Flags(
    runs=flags.DEFINE_list(
      'runs',
      None,
      "Directories of finished runs; '+' joins seeds, DIR:RULE is a rule beside"
      ' a run. Others are compared with the first.',
    ),
    names=flags.DEFINE_list(
      'names', [], 'Of the systems; default: directories.'
    ),
    metrics=flags.DEFINE_list(
      'metrics', [], 'What to show; default: AUCs, HR and NDCG at 10.'
    ),
    resamples=flags.DEFINE_integer(
      'resamples', 10_000, 'Of users, for intervals and p-values.'
    ),
    seed=flags.DEFINE_integer('seed', 0, 'Of the resampling.', lower_bound=0),
  )
