"""2TS, its ablations and our controls as settings on every dataset.

The paper names neither sizes nor rates nor thresholds; all of them are ours,
chosen on validation events.
"""

from typing import Any

from twotsrec import config as config_lib
from twotsrec import fields

SPLITS = ('global_time', 'per_user_time')

# Stage 1 without the windows, which are replayed before validation, where most
# active users have three windows or more of train events.
_OWN_WINDOWS = {'two_time.holdout': 'last_k', 'two_time.warmup': 'replay'}
# Where the window is most of what is known of a user, stage 1 needs it.
_WHOLE = {'two_time.holdout': 'none', 'two_time.warmup': 'none'}


def _divided(threshold: int, options: dict[str, str]) -> dict[str, Any]:
  """A threshold t* with the window K = t* / 2."""
  sizes = {'two_time.threshold': threshold, 'two_time.window': threshold // 2}
  return sizes | options


# Per dataset: threshold and window, and what stage 1 sees of the windows.
_SETTINGS = {
  'ml-1m': _divided(100, _OWN_WINDOWS),
  'ml-100k': _divided(100, _OWN_WINDOWS),
  'amazon-beauty-5core': _divided(10, _WHOLE),
  'retailrocket-mb': _divided(20, _OWN_WINDOWS),
  'tmall-mbgmn-noview': _divided(10, _WHOLE),
  'synthetic': _divided(100, _OWN_WINDOWS),
}
DATASETS = tuple(_SETTINGS)

VARIANTS = {
  **{name: {'two_time.variant': name} for name in config_lib.VARIANTS},
  # Whatever a dataset has, these replay the windows their starts have not seen.
  **{
    name: {'two_time.variant': name, **_OWN_WINDOWS}
    for name in ('shrunk', 'shrunk_plus')
  },
  # As sec. 3.1 reads: stage 1 on all train events, and no event played twice.
  '2ts_paper': {'two_time.variant': '2ts', **_WHOLE},
  '2ts_plus_paper': {'two_time.variant': '2ts_plus', **_WHOLE},
  # One W for both networks, as sec. 3.3 writes it.
  '2ts_shared_w': {
    'two_time.variant': '2ts_plus',
    'two_time.share_readout': True,
  },
}


def preset(
  dataset: str, split: str = 'global_time', variant: str = '2ts'
) -> config_lib.Config:
  """Settings of a variant.

  Args:
    dataset: of `DATASETS`.
    split: of `SPLITS`.
    variant: a key of `VARIANTS`.
  Raises:
    types.UserError: an unknown name; the message lists the known ones.
  """
  fields.refuse_unknown('dataset', dataset, _SETTINGS)
  fields.refuse_unknown('split', split, SPLITS)
  fields.refuse_unknown('variant', variant, VARIANTS)
  config = config_lib.Config()
  config.data.dataset = dataset
  config.data.split = split
  config.model.name = 'two_time_scale'
  config.model.width = 64
  config_lib.change(config, _SETTINGS[dataset] | VARIANTS[variant])
  return config
