"""Plugin networks by name.

A plugin is a `types.Plugin`: a small network per activeness group around a
shared trunk (PIN sec. 3.3). Every one starts as the bare trunk, to the bit,
unless it is asked for the authors' form.
"""

import dataclasses

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
  'patience', 'select', 'select_metric',
)  # fmt: skip


def make(options: config.PluginConfig) -> types.Plugin:
  """The plugin that a configuration names.

  Raises:
    types.UserError: an unknown name or value, or an option that the plugin
      does not have: it would change nothing.
  """
  name = options.name
  if fields.is_own(name):
    return own.make(name, 'plugin.name', types.Plugin, options)
  if name not in _MAKERS:
    raise types.UserError(
      f'plugin.name is {name!r}; known plugins: {", ".join(NAMES)}, '
      'my_file.py:make of your own, or none for the bare trunk'
    )
  taken = OPTIONS[name]
  for field in dataclasses.fields(options):
    value = getattr(options, field.name)
    if field.name in ('name', *_TRAINING, *taken) or value == field.default:
      continue
    raise types.UserError(
      f'plugin.{field.name} is {value}, but {name} has no such option; '
      f'it takes {", ".join(taken) or "none"}'
    )
  return _MAKERS[name](options)
