"""Ranker of a trained 2TS: for users of the log, and for raw histories.

A user of the log is the read-out of the state after all events; anybody else
starts at psi and goes through the network of inactive users.
"""

import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import two_rnn
from twotsrec.ops import rows
from twotsrec.plugins import recurrent


def make(config: config_lib.Config) -> types.Model:
  """A model of types.Params that training put together.

      tables {'item': {'embedding': f32[I + 1, D]}}, frozen item vectors
      net    {'user': {'start': f32[U, D], 'state': f32[U, S],
              'query': f32[U, D]}, 'new': f32[D], 'networks': {name: network}}

  Where starts are shrunk, `user` has their 'weight' f32[U]. `start` is from
  stage 1, `state` and `query` are after all events; `new`
  is the query of a user without any event; networks are those of
  `data.stream_jobs.PARTS` that were trained.
  """
  options, width = config.two_time, config.model.width
  stages = two_rnn.make_stages(options, width)
  bind = recurrent.make_bind(stages, config.plugin)

  def encode(net, history_rows, context, inputs, *, key=None):
    del context, key
    mask = inputs['history'] > 0
    newcomer = jnp.broadcast_to(net['new'], (mask.shape[0], width))
    network = newcomers_network(net['networks'])
    if network is not None:
      own, inner = bind(network)
      embedded = own.embed(inner['embed'], history_rows, inputs)
      summary = own.summarize(inner['extractor'], embedded, mask)
      newcomer = two_rnn.query_of(own)(inner, summary)
    user = inputs['user']
    of_log = rows.gather(net['user'], jnp.maximum(user, 0))['query']
    return jnp.where((user >= 0)[:, None], of_log, newcomer)

  def score(net, encoded, candidate_rows, *, key=None):
    del key
    features = types.Features(encoded)
    return stages.classify({}, features, candidate_rows)

  def factors(net, encoded, candidate_rows):
    del net
    return encoded, candidate_rows['embedding']

  def init(key, context, sizes):
    raise ValueError('it is put together by training, not drawn')

  return types.Model(init, encode, score, factors=factors)


def newcomers_network(networks: dict[str, types.PyTree]) -> types.PyTree | None:
  """Of users without a start of their own, with the least active's plugin."""
  for name in ('inactive', 'everyone'):
    if name in networks:
      return recurrent.of_group(networks[name], 0)
  return None
