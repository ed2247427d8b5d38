"""Routes users to the plugins of groups by their activity now.

Evaluation and recommendation both come through `route`, so that the numbers of
a report are those of the system that serves. PIN routes a user to the group of
training; what a user from outside, or one whose activity has changed, gets is
ours.

Departure: PIN does not cover the routing of new users, which serving needs.
Here the thresholds of the training groups route them, with hysteresis for users
of the training whose activity has moved.
"""

import dataclasses
from typing import Any

import numpy as np

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.theory import shrunk

UNKNOWN = -1
# 1.1 * 70 is a little more than 77 in floating point, but 77 passes.
_ROUNDING = 1 - 1e-12


def activity(
  clicks: np.ndarray, key: str, per_click: float = 1.0
) -> np.ndarray:
  """Activity in the unit of the groups' key, i64[n].

  `clicks` are lengths i64[n] of whole histories. The key user_train_count
  leaves out the first event, which has no history to learn from; where samples
  are impressions a history stands for `groups.per_click` times as many.
  """
  clicks = np.asarray(clicks, np.int64)
  if per_click != 1.0:
    return np.rint(clicks * per_click).astype(np.int64)
  return np.maximum(clicks - (key == 'user_train_count'), 0)


def route(
  counts: np.ndarray,
  clicks: np.ndarray,
  home: np.ndarray,
  groups: groups_lib.Groups,
  options: config_lib.RoutingConfig,
) -> types.Route:
  """The plugins of every user.

  frozen: the training group, whatever happened since. dynamic: the group of
  the activity now; a known user leaves the training group only when a
  threshold is passed by the share `hysteresis`. soft: the two groups whose
  centers lie around the activity, with weights linear in its logarithm; beyond
  the outer centers the outer group alone. shrunk: as frozen, each plugin with
  the weight n / (n + Q / V), about, of the n samples its group has trained on
  (`theory.shrunk`), so that a group with little data stays near the trunk.
  Unknown users are routed by the
  thresholds, or softly. Without any history a user gets group 1, or the bare
  trunk. Where only the least active groups have plugins, others get the bare
  trunk too.

  Where it is samples that have groups (sample_history_len), no user has a home:
  the length of the request's own history decides.

  Args:
    counts: i64[n], activity in the unit of the groups' key.
    clicks: i64[n], length of the history; 0 is cold.
    home: i32[n], training group, or UNKNOWN.
    groups: made in training.
    options: mode, cold start, hysteresis, shrinkage and who has plugins.
  Returns:
    Route with groups i32[n, K] and weights f32[n, K]; K is 2 if soft, else 1.
  Raises:
    types.UserError: an unknown option, or a ratio Q / V that is not there.
  """
  fields.refuse_section(options, 'routing')
  counts, home = np.asarray(counts), np.asarray(home)
  if groups.event_group is not None:
    home = np.full_like(home, UNKNOWN)
  if options.mode == 'soft':
    chosen, weights = _blend(counts, groups.centers)
  else:
    spread = options.hysteresis if options.mode == 'dynamic' else 0.0
    now = _by_thresholds(counts, home, groups.thresholds, spread)
    stays = (home != UNKNOWN) & (options.mode in ('frozen', 'shrunk'))
    chosen = np.where(stays, home, now)[:, None]
    weights = np.ones(chosen.shape)
  cold = np.asarray(clicks) == 0
  chosen[cold] = 0
  weights[cold] = np.eye(1, chosen.shape[1]) * (options.cold == 'group1')
  if options.groups:
    weights = np.where(chosen < options.groups, weights, 0.0)
  if options.mode == 'shrunk':
    weights = weights * strengths(groups, options)[chosen]
  return types.Route(chosen.astype(np.int32), weights.astype(np.float32))


def strengths(
  groups: groups_lib.Groups, options: config_lib.RoutingConfig
) -> np.ndarray:
  """Weights of the plugins where they are shrunk, f64[G].

  Raises:
    types.UserError: no ratio, given or estimated.
  """
  if not options.shrinkage:
    raise types.UserError(
      'routing.mode shrunk needs the ratio of noise to differences of the'
      ' groups, which stage 2 estimates where it trains with'
      ' routing.mode=shrunk; train it so, or use frozen, dynamic or soft'
    )
  return shrunk.weight(groups.sizes, options.shrinkage, 1.0)


def of_targets(
  prepared: prepared_lib.Prepared,
  groups: groups_lib.Groups,
  targets: prepared_lib.Targets,
  key: str,
  options: config_lib.RoutingConfig,
) -> types.Route:
  """Routes of events to predict, from the history before each, [T, K]."""
  start = np.asarray(prepared.user_offsets)[targets.user]
  clicks = np.asarray(targets.history_end) - start
  return _of_known(prepared, groups, targets.user, clicks, key, options)


def of_users(
  prepared: prepared_lib.Prepared,
  groups: groups_lib.Groups,
  users: np.ndarray,
  key: str,
  options: config_lib.RoutingConfig,
) -> types.Route:
  """Routes of known users with all their events, [n, K]."""
  clicks = np.diff(prepared.user_offsets)[users]
  return _of_known(prepared, groups, users, clicks, key, options)


def _of_known(prepared, groups, users, clicks, key, options) -> types.Route:
  """Routes of users of the data, with so many clicks each."""
  home, per_click = training_group(prepared, groups)[users], groups.per_click
  counts = activity(clicks, key, per_click)
  if impressions.there_are(prepared):
    # Who was shown something in training has a plugin, clicks or not.
    clicks = np.maximum(clicks, home != UNKNOWN)
  return route(counts, clicks, home, groups, options)


def of_histories(
  clicks: np.ndarray,
  groups: groups_lib.Groups,
  key: str,
  options: config_lib.RoutingConfig,
  home: np.ndarray | None = None,
) -> types.Route:
  """Routes of anybody, from the lengths i64[n] of the histories.

  `home` are the groups i32[n] of those who trained; None is UNKNOWN for all.
  """
  if home is None:
    home = np.full(len(clicks), UNKNOWN, np.int32)
  counts = activity(clicks, key, groups.per_click)
  return route(counts, clicks, home, groups, options)


def of_lengths(
  groups: groups_lib.Groups, key: str, options: config_lib.RoutingConfig
) -> types.Route:
  """Routes of strangers with 0, 1, 2, ... clicks; with more, as the last."""
  last = max(
    np.max(groups.thresholds, initial=0), np.exp(np.max(groups.centers))
  )
  most = int(np.ceil(last / min(groups.per_click, 1.0))) + 2
  return of_histories(np.arange(most + 1), groups, key, options)


def training_group(
  prepared: prepared_lib.Prepared, groups: groups_lib.Groups
) -> np.ndarray:
  """Group in which each user trained, i32[U]; UNKNOWN without a positive."""
  if impressions.there_are(prepared):
    shown = impressions.train_counts(prepared) > 0
    return np.where(shown, np.asarray(groups.user_group), UNKNOWN)
  starts, ends = prepared.user_offsets[:-1], prepared.user_offsets[1:]
  several = np.flatnonzero(ends - starts > 1)
  # Train events come first, so who has two of them has a train positive.
  second = np.asarray(prepared.split)[starts[several] + 1]
  trained = several[second == prepared_lib.TRAIN]
  home = np.full(prepared.num_users, UNKNOWN, np.int32)
  home[trained] = np.asarray(groups.user_group)[trained]
  return home


def from_config(config: config_lib.Config) -> config_lib.RoutingConfig | None:
  """Routing of an experiment; None where all users have the same model."""
  by_group = config.plugin.name != 'none' or config.train.method == 'separate'
  return config.routing if by_group else None


def described(options: config_lib.RoutingConfig) -> dict[str, Any]:
  """Routing as a report has it: what is there only where something reads it."""
  named = dataclasses.asdict(options)
  if options.mode != 'shrunk':
    del named['shrinkage']
  if not options.groups:
    del named['groups']
  return named


def check_mode(mode: str, configs: list[config_lib.Config]) -> None:
  """Refuses a mode where no experiment has plugins, or a model per group.

  The mode '' leaves what is configured.
  """
  if mode and all(from_config(config) is None for config in configs):
    raise types.UserError(
      f'--routing={mode} would change nothing: no model here has plugins; leave'
      ' it out, or name a run trained with plugin.name=light'
    )


def override(config: config_lib.Config, mode: str) -> config_lib.Config:
  """The same experiment routed by `mode`; '' leaves it as it is."""
  if not mode:
    return config
  routing = dataclasses.replace(config.routing, mode=mode)
  return dataclasses.replace(config, routing=routing)


def _by_thresholds(
  counts: np.ndarray, home: np.ndarray, thresholds: np.ndarray, spread: float
) -> np.ndarray:
  """Number of borders passed, i64[n].

  For a known user borders above the home lie higher by the factor 1 + spread,
  and those below it lower by the same factor.
  """
  home = home[:, None]
  above = np.arange(len(thresholds)) >= home
  factor = np.where(above, 1.0 + spread, 1.0 / (1.0 + spread))
  borders = thresholds * np.where(home == UNKNOWN, 1.0, factor)
  return np.sum(counts[:, None] >= borders * _ROUNDING, axis=1)


def _blend(
  counts: np.ndarray, centers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Groups i64[n, 2] and weights f64[n, 2], continuous in the count."""
  # Of groups with one center the first serves; two would make a jump.
  centers, group = np.unique(centers, return_index=True)
  place = np.log(np.maximum(counts, 1))
  upper = np.searchsorted(centers, place, side='right')
  lower = np.clip(upper - 1, 0, len(centers) - 1)
  upper = np.clip(upper, 0, len(centers) - 1)
  gap = centers[upper] - centers[lower]
  share = np.divide(
    place - centers[lower], gap, out=np.zeros(place.shape), where=gap > 0
  )
  return group[np.stack([lower, upper], 1)], np.stack([1 - share, share], 1)
