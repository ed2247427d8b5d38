"""Plugin networks by name.

A plugin is a `types.Plugin`: a small network per activeness group around a
shared trunk (PIN sec. 3.3). Every one starts as the bare trunk, to the bit,
unless it is asked for the authors' form.
"""

from twotsrec import config
from twotsrec import fields
from twotsrec import own
from twotsrec import types
from twotsrec.plugins import film
from twotsrec.plugins import light
from twotsrec.plugins import naive

_MAKERS = {
  'light': light.make,
  'naive': naive.make,
  'film': film.make,
}

# Options a plugin takes besides its name and those of its training.
OPTIONS = {
  'light': (
    'points', 'history_only', 'ratio', 'activation', 'init', 'post_activation',
  ),
  'naive': (),
  'film': ('points', 'history_only'),
}  # fmt: skip

NAMES = tuple(_MAKERS)
_TRAINING = (
  'trunk', 'learning_rate', 'trunk_learning_rate', 'trunk_gradient', 'epochs',
  'patience', 'select', 'select_metric', 'transfer', 'near',
)  # fmt: skip


def make(options: config.PluginConfig) -> types.Plugin:
  """The plugin that a configuration names.

  Raises:
    types.UserError: an unknown name or value, or an option that the plugin
      does not have: it would change nothing.
  """
  fields.refuse_section(options, 'plugin')
  name = options.name
  if name in OPTIONS:
    fields.refuse_options(options, 'plugin', OPTIONS[name], _TRAINING)
  also = ', or none for the bare trunk'
  kind = types.Plugin
  return own.part(name, 'plugin.name', kind, _MAKERS, options, also=also)
