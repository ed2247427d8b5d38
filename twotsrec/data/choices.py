"""Names that settings of the data may take, for scripts to list.

This module imports nothing, so that `--help` does not wait for arrays. The
module that gives a name its meaning stands beside it.
"""

# data.splits
SPLITS = ('leave_last_out', 'per_user_time', 'global_time', 'date', 'given')
# data.interactions
DEDUP = ('none', 'first', 'last')
DISLIKES = ('seen', 'drop', 'negatives')
CORES = ('fixed_point', 'single_pass')
# data.groups
GROUP_KEYS = ('user_train_count', 'user_seq_len', 'sample_history_len')
GROUP_BALANCES = ('users', 'samples')
# data.routing
ROUTING = ('frozen', 'dynamic', 'soft', 'shrunk')
# runs.recommend
UNKNOWN_USERS = ('error', 'skip', 'popular')
# runs.event_checks
LATE = ('error', 'drop', 'replay')
# data.feature_files and data.features
FEATURE_KINDS = ('categorical', 'multivalued', 'dense')
MISSING_FEATURES = ('error', 'zero')
EXTRA_FEATURES = ('error', 'drop')
# data.settings and data.raw
BUILT_IN = (
  'synthetic',
  'synthetic-behaviors',
  'synthetic-impressions',
  'synthetic-stream',
)
PUBLISHED = (
  'taobao-userbehavior',
  'ml-25m',
  'ml-25m-tags',
  'lastfm-1k',
  'lastfm-1k-jodie-all',
  'lastfm-1k-artists',
  'lastfm-1k-tracks',
)
