"""Networks of 2TS with the events that train them and the users they serve."""

import dataclasses
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
      each; 'ends', the first window of each, and the last one, which starts
      between psi and an embedding of the events before it; 'carried', whole
      histories with the gradient cut every window; or 'nothing', the start is
      all there is.
  """

  name: str
  own_start: bool
  reads: str


_INACTIVE = Part('inactive', False, 'whole')
_BOTH = (_INACTIVE, Part('active', True, 'window'))
_SHRUNK = (Part('everyone', False, 'ends'),)

# 2TS sec. 4.2; single_stage_plus, one_gru, window_gru, frozen_user and both
# shrunk are ours.
# The plus of a variant is a read-out, `two_rnn.READ_OUT`; `config.ONE_STAGE`
# train embeddings and networks at once.
PARTS = {
  '2ts': _BOTH,
  '2ts_plus': _BOTH,
  'single_stage': _BOTH,
  'single_stage_plus': _BOTH,
  'two_gru': (_INACTIVE, Part('active', False, 'carried')),
  'one_gru': (Part('everyone', False, 'carried'),),
  'window_gru': (_INACTIVE, Part('active', False, 'window')),
  'frozen_user': (_INACTIVE, Part('active', True, 'nothing')),
  'ccf': (Part('everyone', True, 'nothing'),),
  'shrunk': _SHRUNK,
  'shrunk_plus': _SHRUNK,
}


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


def changed(config: config_lib.Config, **options) -> config_lib.Config:
  """The configuration with other settings of `two_time`."""
  made = dataclasses.replace(config.two_time, **options)
  return dataclasses.replace(config, two_time=made)


def is_active(counts: np.ndarray, threshold: int) -> np.ndarray:
  """T_u > t*, 2TS App. C; the theory divides at T >= t*, `bounds.t_opt`."""
  return counts > threshold


def is_shrunk(options: config_lib.TwoTimeConfig) -> bool:
  """Whether users start between psi and their embeddings, `theory.shrunk`."""
  return any(part.reads == 'ends' for part in PARTS[options.variant])


def check_threshold(
  counts: np.ndarray, options: config_lib.TwoTimeConfig
) -> None:
  """Refuses a threshold that leaves a network without users.

  Raises:
    types.UserError: a threshold without active or inactive users, or below the
      window; a window that leaves nothing before it.
  """
  if is_shrunk(options) and not np.any(counts > options.window):
    raise types.UserError(
      f'two_time.window {options.window}: no user has more train events, so'
      f' two_time.variant {options.variant} would start nobody at an embedding;'
      f' choose 1 to {max(int(counts.max()) - 1, 1)}, or use'
      ' two_time.variant=one_gru'
    )
  if all(part.name == 'everyone' for part in PARTS[options.variant]):
    return
  threshold, trained = options.threshold, counts[counts > 0]
  low, high = int(trained.min()), int(trained.max())
  if low == high:
    raise types.UserError(
      f'two_time.variant {options.variant}: all users have {low:,} train'
      ' events, so nobody is more active; use two_time.variant=one_gru, a'
      ' network for everybody'
    )
  if not low <= threshold < high:
    nobody = 'inactive' if threshold < low else 'active'
    narrow = ''
    if options.window > low:
      narrow = f', and lower two_time.window, now {options.window}, to no more'
    raise types.UserError(
      f'two_time.threshold {threshold}: users have {low:,} to {high:,} train'
      f' events, so nobody would be {nobody}; choose {low} to {high - 1}'
      + narrow
    )
  if not 1 <= options.window <= threshold:
    way_out = f'choose 1 to {threshold}'
    if threshold < options.window < high:
      way_out += f', or raise two_time.threshold to {options.window}'
    raise types.UserError(
      f'two_time.window {options.window} must lie in 1..{threshold}, the'
      f' threshold: an active user has that many events; {way_out}'
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
    for part in PARTS[options.variant]
  )


def _job(part, prepared, groups, counts, options) -> Job:
  offsets = np.asarray(prepared.user_offsets)[:-1]
  active = is_active(counts, options.threshold)
  of_name = {'active': active, 'inactive': ~active}
  serves = of_name.get(part.name, np.ones_like(active))
  users = np.flatnonzero(serves & (counts > 0))
  length, replayed = counts[users], counts
  start = offsets[users]
  if part.reads in ('window', 'ends'):
    replayed = np.minimum(counts, options.window)
    length = replayed[users]
    start = start + counts[users] - length
  if part.reads == 'ends':
    before = np.minimum(counts - replayed, options.window)
    some = np.flatnonzero(serves & (before > 0))
    users = np.concatenate([users, some])
    start = np.concatenate([start, offsets[some]])
    length = np.concatenate([length, before[some]])
  if part.reads == 'nothing' or part.own_start and options.warmup == 'none':
    replayed = 0
  group, sizes = _groups(groups, users, length)
  return Job(
    part=part,
    serves=serves,
    group=group,
    sizes=sizes,
    runs=streams.Runs(start, length),
    users=users,
    replayed=offsets + counts - replayed,
  )


def _groups(groups, users, length):
  """Activeness groups numbered anew among the users of a job."""
  present, number = np.unique(groups.user_group[users], return_inverse=True)
  # A user without train events goes with the least active ones.
  group = np.searchsorted(present, groups.user_group).astype(np.int32)
  group = np.minimum(group, max(len(present) - 1, 0))
  sizes = np.bincount(number, length, max(len(present), 1))
  return group, sizes.astype(np.float32)


def leaves_windows(options: config_lib.TwoTimeConfig) -> bool:
  """Whether stage 1 goes without the windows of active users.

  It does where a network is trained on them; the control that starts elsewhere
  gets the same items.
  """
  reads = [part.reads for part in PARTS[options.variant]]
  has_stage1 = options.variant not in config_lib.ONE_STAGE
  return has_stage1 and options.holdout != 'none' and 'window' in reads


def known_before(
  counts: np.ndarray, options: config_lib.TwoTimeConfig
) -> np.ndarray:
  """Train events of every user before the last window, i64[U].

  A shrunk start is made of these.
  """
  return np.maximum(counts - options.window, 0)


def last_windows(
  prepared: prepared_lib.Prepared, options: config_lib.TwoTimeConfig
) -> np.ndarray:
  """The last train events of every user, as many as a window has, bool[N]."""
  counts = prepared_lib.train_counts(prepared)
  offsets = np.asarray(prepared.user_offsets)[:-1]
  begin = offsets + known_before(counts, options)
  users = prepared.event_users
  late = np.arange(prepared.num_events) >= begin[users]
  return late & (np.asarray(prepared.split) == prepared_lib.TRAIN)


def window_events(
  prepared: prepared_lib.Prepared, options: config_lib.TwoTimeConfig
) -> np.ndarray:
  """Events that stage 1 leaves to stage 2, bool[N]; see `two_time.holdout`.

  They are the last K train events of every active user (2TS eq. 12).
  """
  left = np.zeros(prepared.num_events, bool)
  if leaves_windows(options):
    counts = prepared_lib.train_counts(prepared)
    users = np.flatnonzero(is_active(counts, options.threshold))
    end = np.asarray(prepared.user_offsets)[users] + counts[users]
    left[(end[:, None] - 1 - np.arange(options.window)).ravel()] = True
  return left


def left_out_items(
  prepared: prepared_lib.Prepared, options: config_lib.TwoTimeConfig
) -> np.ndarray:
  """Items that training has in `window_events` alone, bool[I + 1].

  Stage 1 learns nothing of them, so their x_i is 0 as if they were new.
  """
  left = window_events(prepared, options)
  seen = (np.asarray(prepared.split) == prepared_lib.TRAIN) & ~left
  items = np.asarray(prepared.items)
  has = np.zeros((2, prepared.num_items + 1), bool)
  has[0, items[left]] = has[1, items[seen]] = True
  return has[0] & ~has[1]


def tokens(runs: streams.Runs, options: config_lib.TwoTimeConfig) -> int:
  """Events of a step: as set, or for about 60 steps an epoch."""
  if options.tokens:
    return options.tokens
  share = int(runs.length.sum()) // _STEPS
  return int(np.clip(share, runs.length.max(initial=1), _MOST_TOKENS))


def played(
  prepared: prepared_lib.Prepared,
  job: Job,
  until: int,
  wanted: np.ndarray | None = None,
) -> tuple[streams.Runs, np.ndarray]:
  """Runs from the first replayed event of a user to the end of a split.

  Args:
    prepared: the data.
    job: whose users.
    until: prepared.VALIDATION or prepared.TEST.
    wanted: bool[N], events of which a run must hold one; None for any run.
  Returns:
    (runs, their users i64[R]).
  """
  before = lambda events: np.concatenate([[0], np.cumsum(events)])
  offsets = np.asarray(prepared.user_offsets)
  reached = before(np.asarray(prepared.split) <= until)
  end = offsets[:-1] + np.diff(reached[offsets])
  asked = job.serves & (end > job.replayed)
  if wanted is not None:
    count = before(wanted)
    asked &= count[end] > count[job.replayed]
  users = np.flatnonzero(asked)
  start = job.replayed[users]
  return streams.Runs(start, end[users] - start), users
