"""Which network of 2TS is trained on which events, and serves whom."""

from typing import NamedTuple

import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import streams

_MOST_TOKENS = 32_768  # of a step
_STEPS = 60  # of an epoch, about


class Part(NamedTuple):
  """A network of a variant.

  Attributes:
    name: 'inactive' or 'active' users, or 'everyone'.
    own_start: whether users start at their own embeddings, or else at psi.
    reads: train events that train it: 'whole' histories; the last 'window' of
      each; 'carried', whole histories with the gradient cut every window; or
      'nothing', the start is all there is.
  """

  name: str
  own_start: bool
  reads: str


_INACTIVE = Part('inactive', False, 'whole')

# 2TS sec. 4.2; single_stage_plus, one_gru, window_gru and frozen_user are ours.
PARTS = {
  '2ts': (_INACTIVE, Part('active', True, 'window')),
  '2ts_plus': (_INACTIVE, Part('active', True, 'window')),
  'single_stage': (_INACTIVE, Part('active', True, 'window')),
  'single_stage_plus': (_INACTIVE, Part('active', True, 'window')),
  'two_gru': (_INACTIVE, Part('active', False, 'carried')),
  'one_gru': (Part('everyone', False, 'carried'),),
  'window_gru': (_INACTIVE, Part('active', False, 'window')),
  'frozen_user': (_INACTIVE, Part('active', True, 'nothing')),
  'ccf': (Part('everyone', True, 'nothing'),),
}
# The plus of a variant is a read-out, `two_rnn.READ_OUT`.
_ONE_STAGE = ('single_stage', 'single_stage_plus')


class Job(NamedTuple):
  """A network with its data.

  Attributes:
    part: what it is.
    serves: bool[U], users whose states it moves.
    group: i32[U], activeness group among those it trains on.
    sizes: f32[G], train events of these groups.
    runs: train events it reads.
    users: i64[R], users of the runs.
    replayed: i64[U], first event that is played before anything is scored.
  """

  part: Part
  serves: np.ndarray
  group: np.ndarray
  sizes: np.ndarray
  runs: streams.Runs
  users: np.ndarray
  replayed: np.ndarray


def parts(variant: str) -> tuple[Part, ...]:
  """The networks of a variant.

  Raises:
    types.UserError: an unknown name.
  """
  if variant not in PARTS:
    raise types.UserError(
      f'two_time.variant {variant!r}; known: {", ".join(PARTS)}'
    )
  return PARTS[variant]


def trained_together(variant: str) -> bool:
  """Whether embeddings and networks are trained at once, in one stage."""
  return variant in _ONE_STAGE


def with_plugins(config: config_lib.Config) -> str | None:
  """Name of the part that plugins are put in; None without any.

  It is a network of users without starts of their own, trained by itself on
  whole histories (PIN sec. 3.3 for the inactive users of 2TS; ours).
  """
  first = parts(config.two_time.variant)[0]
  alone = not trained_together(config.two_time.variant)
  if config.plugin.name == 'none' or not alone or first.reads != 'whole':
    return None
  return first.name


def is_active(counts: np.ndarray, threshold: int) -> np.ndarray:
  """T_u > t*, 2TS App. C; the theory divides at T >= t*, `bounds.t_opt`."""
  return counts > threshold


def check_threshold(
  counts: np.ndarray, options: config_lib.TwoTimeConfig
) -> None:
  """Refuses a threshold that leaves a network without users.

  Raises:
    types.UserError: a threshold without active or inactive users, or below the
      window.
  """
  if all(part.name == 'everyone' for part in parts(options.variant)):
    return
  threshold, known = options.threshold, counts[counts > 0]
  low, high = int(known.min()), int(known.max())
  if not low <= threshold < high:
    nobody = 'inactive' if threshold < low else 'active'
    raise types.UserError(
      f'two_time.threshold {threshold}: users have {low:,} to {high:,} train'
      f' events, so nobody would be {nobody}; choose {low} to {high - 1}'
    )
  if not 1 <= options.window <= threshold:
    raise types.UserError(
      f'two_time.window {options.window} must lie in 1..{threshold}, the'
      ' threshold: an active user has that many events; lower the window or'
      ' raise two_time.threshold'
    )


def make(
  prepared: prepared_lib.Prepared,
  groups: groups_lib.Groups,
  options: config_lib.TwoTimeConfig,
) -> tuple[Job, ...]:
  """The jobs of a variant."""
  counts = prepared_lib.train_counts(prepared)
  check_threshold(counts, options)
  return tuple(
    _job(part, prepared, groups, counts, options)
    for part in parts(options.variant)
  )


def window_events(
  prepared: prepared_lib.Prepared, options: config_lib.TwoTimeConfig
) -> np.ndarray:
  """Events that stage 1 leaves to stage 2, bool[N]; see `two_time.holdout`.

  The last K train events of every active user (2TS eq. 12), where a network is
  trained on them; the control that starts elsewhere gets the same items.
  """
  left = np.zeros(prepared.num_events, bool)
  if not leaves_windows(options):
    return left
  counts = prepared_lib.train_counts(prepared)
  users = np.flatnonzero(is_active(counts, options.threshold))
  end = np.asarray(prepared.user_offsets)[users] + counts[users]
  left[(end[:, None] - 1 - np.arange(options.window)).ravel()] = True
  return left


def leaves_windows(options: config_lib.TwoTimeConfig) -> bool:
  """Whether stage 1 goes without the windows of active users."""
  if trained_together(options.variant):
    return False
  reads = [part.reads for part in parts(options.variant)]
  return options.holdout != 'none' and 'window' in reads


def left_out_items(
  prepared: prepared_lib.Prepared, options: config_lib.TwoTimeConfig
) -> np.ndarray:
  """Items that training has in `window_events` alone, bool[I + 1].

  Stage 1 learns nothing of them, so their x_i is 0 as if they were new.
  """
  left = window_events(prepared, options)
  in_train = np.asarray(prepared.split) == prepared_lib.TRAIN
  count = lambda events: np.bincount(
    np.asarray(prepared.items)[events], minlength=prepared.num_items + 1
  )
  return (count(left) > 0) & (count(in_train & ~left) == 0)


def tokens(runs: streams.Runs, options: config_lib.TwoTimeConfig) -> int:
  """Events of a step: as set, or for about 60 steps an epoch."""
  if options.tokens:
    return options.tokens
  share = int(runs.length.sum()) // _STEPS
  return int(np.clip(share, runs.length.max(initial=1), _MOST_TOKENS))


def played(
  prepared: prepared_lib.Prepared, job: Job, until: int
) -> tuple[streams.Runs, np.ndarray]:
  """Runs from the first replayed event of a user to the end of a split.

  Args:
    prepared: the data.
    job: whose users.
    until: prepared.VALIDATION or prepared.TEST.
  Returns:
    (runs, their users i64[R]).
  """
  offsets = np.asarray(prepared.user_offsets)
  reached = np.asarray(prepared.split) <= until
  before = np.concatenate([[0], np.cumsum(reached)])
  end = offsets[:-1] + np.diff(before[offsets])
  length = np.where(job.serves, end - job.replayed, 0)
  users = np.flatnonzero(length > 0)
  return streams.Runs(job.replayed[users], length[users]), users


def _job(part, prepared, groups, counts, options):
  offsets = np.asarray(prepared.user_offsets)[:-1]
  active = is_active(counts, options.threshold)
  serves = {'active': active, 'inactive': ~active}.get(
    part.name, np.ones_like(active)
  )
  trained = np.flatnonzero(serves & (counts > 0))
  length = counts[trained]
  if part.reads == 'window':
    length = np.full(len(trained), options.window)
  start = offsets[trained] + counts[trained] - length
  last = {'nothing': 0, 'window': options.window}.get(part.reads)
  if part.own_start and options.warmup == 'none':
    last = 0
  kept = counts if last is None else np.minimum(counts, last)
  group, sizes = _groups(groups, trained, length)
  return Job(
    part,
    serves,
    group,
    sizes,
    streams.Runs(start, length),
    trained,
    offsets + counts - kept,
  )


def _groups(groups, trained, length):
  """Activeness groups numbered anew among the users of a job."""
  present, number = np.unique(groups.user_group[trained], return_inverse=True)
  # A user without train events goes with the least active ones.
  group = np.searchsorted(present, groups.user_group).astype(np.int32)
  group = np.minimum(group, max(len(present) - 1, 0))
  sizes = np.bincount(number, length, max(len(present), 1))
  return group, sizes.astype(np.float32)
