"""Programs of a ranker as StableHLO, for any number of users at once.

    encode   (weights, who) -> what the model makes of users, leaves [b, ...]
    scores   (weights, who, items i32[b, c]) -> f32[b, c]
    reasons  the same -> f32[b, c, L], where a model has some
    queries  (weights, who) -> f32[b, Q], where an index is wanted
    top_N    (weights, who, left_out bool[b, I + 1]) -> N best of all items
    update   (weights, states, items i32[b]) -> states, where there are some
    query    (weights, states) -> f32[b, D], whose products are scores

`who` is history i32[b, L], user i32[b], groups i32[b, K] and shares f32[b, K]
of the route, `states` the fields of `online.State`. Weights are arguments;
those that nothing reads (graphs, once a model ranks) are left out. `b` and `c`
are symbols: a program is compiled for any of them, on any of its platforms.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax import export
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.evaluation import tiles
from twotsrec.ops import rows
from twotsrec.serving import online
from twotsrec.serving import recommend as recommend_lib

PLATFORMS = ('cpu', 'cuda', 'tpu')
_FEWEST, _STEP = 16, 8  # of the lengths of lists, each 8 times the one before
_USERS = 64  # for whom a slice of items is sized


class Program(NamedTuple):
  """A function as it is saved.

  Attributes:
    code: the module, in StableHLO's portable bytes.
    weights: names of the arguments that come first.
    inputs: (name, dtype, shape) of what follows the weights; symbols are text.
    outputs: the same.
    calling: what `exported.rebuilt` needs besides, JSON values.
  """

  code: bytes
  weights: list[str]
  inputs: list[tuple[str, str, list[int | str]]]
  outputs: list[tuple[str, str, list[int | str]]]
  calling: dict[str, Any]


class Exported(NamedTuple):
  """All programs of a ranker.

  Attributes:
    weights: by name.
    programs: by name.
  """

  weights: dict[str, np.ndarray]
  programs: dict[str, Program]


class _Functions(NamedTuple):
  """What is exported, of weights and inputs one after the other."""

  encode: Callable[..., Any]
  scores: Callable[..., Any]
  top: Callable[[int], Callable[..., Any]]
  reasons: Callable[..., Any]
  queries: Callable[..., Any]


def make(
  ranker: contracts.Ranker,
  num_items: int,
  places: int,
  platforms: Sequence[str] = PLATFORMS,
  queries: bool = False,
) -> Exported:
  """Programs of a ranker with one set of parameters.

  Args:
    ranker: the model and its parameters.
    num_items: I.
    places: K, plugins of a route.
    platforms: that the programs are lowered for.
    queries: whether there is one of the queries, of a model with factors.
  Raises:
    types.UserError: a model that is written for a number of users, or asks for
      what only one kind of machine has (the walk of CascadingRank).
  """
  named, tree = jax.tree_util.tree_flatten_with_path(
    {'params': ranker.params._asdict(), 'context': ranker.context}
  )
  leaves = [jnp.asarray(leaf) for _, leaf in named]
  who = _who(ranker.history_length, places)
  items = ('items', 'int32', ['b', 'c'])
  left_out = ('left_out', 'bool', ['b', num_items + 1])
  width = _width(ranker, num_items)
  of_weights = lambda used: _functions(
    ranker.model, tree, leaves, used, num_items, width
  )
  every = list(range(len(leaves)))
  used = _used(of_weights(every).scores, leaves, [*who, items])
  weights = {_name(named[n][0]): leaves[n] for n in used}
  functions = of_weights(used)
  of = lambda function, inputs: _program(function, weights, inputs, platforms)
  programs = {
    'encode': of(functions.encode, who),
    'scores': of(functions.scores, [*who, items]),
  }
  if ranker.model.reasons is not None:
    programs['reasons'] = of(functions.reasons, [*who, items])
  if queries:
    programs['queries'] = of(functions.queries, who)
  for length in lengths(num_items):
    programs[f'top_{length}'] = of(functions.top(length), [*who, left_out])
  return Exported(_arrays(weights), programs)


def of_states(
  service: online.Service, platforms: Sequence[str] = PLATFORMS
) -> Exported:
  """Programs that move and read states, with weights named `states`."""
  named, tree = jax.tree_util.tree_flatten_with_path(
    {'states': service.weights}
  )
  weights = {_name(path): leaf for path, leaf in named}
  count = len(named)
  states = [
    (name, str(leaf.dtype), ['b', *np.shape(leaf)[1:]])
    for name, leaf in service.new._asdict().items()
  ]

  def opened(arguments):
    whole = jax.tree.unflatten(tree, arguments[:count])
    rest = arguments[count:]
    return whole['states'], online.State(*rest[: len(states)]), rest[-1]

  def update(*arguments):
    return tuple(service.advance(*opened(arguments)))

  def query(*arguments):
    return (service.read(*opened(arguments)[:2]),)

  item = ('items', 'int32', ['b'])
  programs = {
    'update': _program(update, weights, [*states, item], platforms),
    'query': _program(query, weights, states, platforms),
  }
  return Exported(_arrays(weights), programs)


def _who(length, places) -> list[tuple[str, str, list[int | str]]]:
  """The users that programs are asked about."""
  return [
    ('history', 'int32', ['b', length]),
    ('user', 'int32', ['b']),
    ('groups', 'int32', ['b', places]),
    ('shares', 'float32', ['b', places]),
  ]


def _name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='.')


def _arrays(weights) -> dict[str, np.ndarray]:
  return {name: np.asarray(leaf) for name, leaf in weights.items()}


def lengths(num_items: int) -> list[int]:
  """Lengths of lists that have a program: 16, 128, ... and all items."""
  made, length = [], _FEWEST
  while length < num_items:
    made.append(length)
    length *= _STEP
  return [*made, num_items]


def _functions(model, tree, leaves, used, num_items, width) -> _Functions:
  """Functions of the weights in use, one after the other, and the inputs."""

  def opened(arguments):
    # What no program reads is as good as zeros of its shape.
    whole: list[Any] = [None] * len(leaves)
    for place, leaf in zip(used, arguments):
      whole[place] = leaf
    for place, leaf in enumerate(leaves):
      if whole[place] is None:
        whole[place] = jnp.zeros(leaf.shape, leaf.dtype)
    parts = jax.tree.unflatten(tree, whole)
    params = types.Params(**parts['params'])
    return params, parts['context'], arguments[len(used) :]

  def encode(*arguments):
    params, context, who = opened(arguments)
    return tuple(jax.tree.leaves(_encoded(model, params, context, who)))

  def scores(*arguments):
    params, context, (*who, items) = opened(arguments)
    of_users = _encoded(model, params, context, who)
    of_items = rows.gather(params.tables['item'], items)
    found = model.score(params.net, of_users, of_items)
    return (found.astype(jnp.float32),)

  def top(length):
    def best(*arguments):
      params, context, (*who, left_out) = opened(arguments)
      of_users = _encoded(model, params, context, who)
      ids = 1 + jnp.arange(tiles.round_up(num_items, width), dtype=jnp.int32)
      ids = jnp.where(ids <= num_items, ids, 0)
      found = tiles.score(model, params, of_users, ids, width)[:, :num_items]
      return _best(found, left_out[:, 1:], length)

    return best

  def reasons(*arguments):
    params, context, (*who, items) = opened(arguments)
    of_users = _encoded(model, params, context, who)
    of_items = rows.gather(params.tables['item'], items)
    return (model.reasons(params.net, of_users, who[0], of_items),)

  def queries(*arguments):
    params, context, who = opened(arguments)
    of_users = _encoded(model, params, context, who)
    return (factors(model, params, of_users, jnp.zeros(1, jnp.int32))[0],)

  return _Functions(encode, scores, top, reasons, queries)


def factors(
  model: types.Model, params: types.Params, encoded: Any, ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Vectors whose products are scores, of users f32[B, Q], of items f32[C, Q].

  Args:
    model: has factors.
    params: of it.
    encoded: B users.
    ids: i32[C].
  """
  split: Any = model.factors
  made = split(params.net, encoded, rows.gather(params.tables['item'], ids))
  return made[0].astype(jnp.float32), made[1].astype(jnp.float32)


def _encoded(model, params, context, who):
  history, user, groups, shares = who
  inputs = {
    'history': history,
    'route': types.Route(groups, shares),
    'user': user,
  }
  history_rows = rows.gather(params.tables['item'], history)
  return model.encode(params.net, history_rows, context, inputs)


def _width(ranker, num_items) -> int:
  """Items of a slice of all items."""
  nobody = types.Route(np.zeros(1, np.int32), np.ones(1, np.float32))
  tile = tiles.RowTile(np.zeros(1, np.int64), nobody, ranker.params)
  width = min(num_items, max(8, tiles.SLICE_PAIRS // _USERS))
  length = ranker.history_length
  found = recommend_lib.slice_width(ranker, tile, length, width)
  return found or num_items


def _best(scores, left_out, length):
  """Ids i32[b, N] and scores of the best, and whether a score was NaN.

  Of equal ones the lower id stands first, as in `serving.recommend`.
  """
  scores = jnp.where(scores == 0, 0.0, scores)
  scores = jnp.where(left_out, -jnp.inf, scores)
  best, place = jax.lax.top_k(scores, length)
  ids = jnp.where(best == -jnp.inf, 0, place + 1).astype(jnp.int32)
  return ids, best, jnp.any(jnp.isnan(scores))


def _used(function, leaves, inputs) -> list[int]:
  """Places of the leaves that a function reads, found at one batch size."""
  fixed = {'b': 2, 'c': 3}
  shapes = [
    jax.ShapeDtypeStruct([fixed.get(n, n) for n in shape], dtype)
    for _, dtype, shape in inputs
  ]
  made = _exported(function, [*leaves, *shapes])
  return [n for n in made.module_kept_var_idx if n < len(leaves)]


def _exported(function, arguments, platforms=None) -> export.Exported:
  try:
    return export.export(jax.jit(function), platforms=platforms)(*arguments)
  except (
    TypeError,
    ValueError,
    jax.errors.InconclusiveDimensionOperation,
  ) as error:
    why = str(error).splitlines()[0].partition('. ')[0]
    raise types.UserError(
      f'a program of this model cannot be exported ({why}); use'
      ' twotsrec.serving.open for the run, or in a model of your own write'
      ' x.shape[0] in place of len(x)'
    ) from error


def _program(function, weights, inputs, platforms) -> Program:
  scope = export.SymbolicScope()
  shapes = [
    jax.ShapeDtypeStruct(symbolic(shape, scope), dtype)
    for _, dtype, shape in inputs
  ]
  made = _exported(function, [*weights.values(), *shapes], platforms)
  outputs = [
    (f'out_{n}', str(aval.dtype), [_plain(size) for size in aval.shape])
    for n, aval in enumerate(made.out_avals)
  ]
  calling = {
    'kept': list(made.module_kept_var_idx),
    'version': made.calling_convention_version,
    'uses_global_constants': made.uses_global_constants,
  }
  return Program(
    code=made.mlir_module_serialized,
    weights=list(weights),
    inputs=inputs,
    outputs=outputs,
    calling=calling,
  )


def symbolic(shape: Sequence[int | str], scope: Any) -> tuple[Any, ...]:
  """A shape of numbers and symbols."""
  named = ''.join(f'{n},' for n in shape)
  return tuple(export.symbolic_shape(named, scope=scope))


def _plain(size) -> int | str:
  return size if isinstance(size, int) else str(size)
