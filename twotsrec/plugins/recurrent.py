"""Plugins on the networks of 2TS, one plugin at a time.

A network with plugins is {'trunk': network, 'plugins': leaves [G, ...]}; with
one of them the leaves are without [G].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import plugins
from twotsrec import trees
from twotsrec import types


def make_bind(
  stages: types.Stages, options: config_lib.PluginConfig
) -> Callable[[types.PyTree], tuple[types.Stages, types.PyTree]]:
  """net -> (stages, what they take as net), with one plugin or with none.

  Args:
    stages: of the bare network.
    options: its plugin, if any.
  """

  def bind(net):
    if 'plugins' not in net:
      return stages, net
    one = jax.tree.map(lambda leaf: leaf[None], net['plugins'])
    plugin = plugins.make(options)
    return plugin.attach(stages, one, jnp.ones(1)), net['trunk']

  return bind


def of_group(net: types.PyTree, group: int) -> types.PyTree:
  """A network with the plugin of one group; it may have no plugins."""
  if 'plugins' not in net:
    return net
  return {**net, 'plugins': trees.take(net['plugins'], group)}
