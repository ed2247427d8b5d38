"""What every model promises, whatever its equations.

More than `testing.check_model` asks of models of one's own, which all of them
pass: the padding row of a table and finite gradients are in there.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import examples
from twotsrec import config
from twotsrec import models
from twotsrec import testing
from twotsrec import types
from twotsrec.ops import rows

ALL = models.NAMES
TRAINED = tuple(name for name in ALL if name != 'popularity')
CAUSAL = (
  ('popularity', {}),
  ('gru4rec', {}),
  ('sasrec', {'causal': True}),
  ('sum_pooling', {}),
  ('gru4rec_tower', {}),
)


def test_an_unknown_name_lists_the_known_models():
  with pytest.raises(types.UserError, match="'dinn'.*din_original.*sasrec"):
    models.make(config.ModelConfig(name='dinn'))


def test_an_unknown_compute_dtype_lists_the_known_ones():
  options = config.ModelConfig(compute_dtype='float8')
  with pytest.raises(types.UserError, match='float8.*float32, bfloat16'):
    models.make(options)


@pytest.mark.parametrize(
  'name', ['sasrec', 'sasrec_original', 'bert4rec', 'hstu', 'ligr']
)
def test_heads_must_divide_the_width(name):
  for heads, message in ((3, 'is 3.*is 8'), (0, '0 must be at least 1')):
    options = config.ModelConfig(name=name, width=8, num_heads=heads)
    with pytest.raises(types.UserError, match=f'num_heads {message}'):
      models.make(options)


@pytest.mark.parametrize('name', TRAINED)
def test_parameters_split_into_tables_and_the_three_stages(name):
  init = functools.partial(examples.make(name).init, sizes=examples.SIZES)
  params = jax.eval_shape(init, jax.random.key(0), {})
  embedding = params.tables['item']['embedding']
  chex.assert_shape(embedding, (examples.SIZES.num_items + 1, examples.WIDTH))
  assert set(params.net) == {'embed', 'extractor', 'classifier'}
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype('f4')}


@pytest.mark.parametrize('name', TRAINED)
def test_weights_start_in_the_xavier_range_and_biases_at_zero(name):
  init = lambda model, key: model.init(key, {}, examples.SIZES)
  params = examples.jit(init)(examples.make(name), jax.random.key(0))

  def check(path, leaf):
    kind = jax.tree_util.keystr(path[-1:], simple=True)
    if kind == 'bias':
      assert not np.any(leaf)
    elif kind == 'slope':  # of what is negative, the authors' start
      np.testing.assert_array_equal(leaf, np.float32(0.1))
    elif kind != 'scale':
      limit = np.sqrt(6.0 / sum(leaf.shape))
      largest = np.max(np.abs(leaf))
      assert 0.5 * limit < largest <= limit

  jax.tree_util.tree_map_with_path(check, params)


@pytest.mark.parametrize('name', ALL)
def test_a_model_passes_what_is_asked_of_others(name):
  testing.check_model(examples.make(name), reads_history=name != 'popularity')


@pytest.mark.parametrize('name', ALL)
def test_encoding_once_and_scoring_equals_one_pass(name):
  model, params = examples.make(name), examples.params(name)
  encoded = examples.encode(model, params, examples.HISTORY)
  for leaf in jax.tree.leaves(encoded):
    assert leaf.shape[0] == len(examples.HISTORY)
  one_pass = examples.jit(examples.one_pass)
  chex.assert_trees_all_close(
    examples.score_encoded(model, params, encoded, examples.CANDIDATES),
    one_pass(model, params, examples.HISTORY, examples.CANDIDATES),
    rtol=1e-5,
    atol=1e-6,
  )


@pytest.mark.parametrize('name', ALL)
def test_shared_candidates_score_like_repeated_ones(name):
  model, params = examples.make(name), examples.params(name)
  shared = np.arange(1, examples.SIZES.num_items + 1, dtype=np.int32)
  repeated = np.tile(shared, (len(examples.HISTORY), 1))
  actual = examples.scores(model, params, examples.HISTORY, shared)
  expected = examples.scores(model, params, examples.HISTORY, repeated)
  assert actual.dtype == jnp.float32
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', ALL)
def test_more_padding_does_not_change_a_score(name):
  model, params = examples.make(name), examples.params(name)
  tight = examples.HISTORY[:, : examples.LENGTHS[1]]  # cuts the first user
  chex.assert_trees_all_close(
    examples.scores(model, params, tight, examples.CANDIDATES)[1:],
    examples.scores(model, params, examples.HISTORY, examples.CANDIDATES)[1:],
    rtol=1e-5,
    atol=1e-6,
  )


@pytest.mark.parametrize('name', TRAINED)
def test_a_padded_row_of_the_summary_has_no_influence(name):
  stages, params = examples.make(name).stages, examples.params(name)
  mask = jnp.asarray(examples.HISTORY > 0)
  history_rows = rows.gather(params.tables['item'], examples.HISTORY)
  inputs = {'history': examples.HISTORY}
  embedded = stages.embed(params.net['embed'], history_rows, inputs)
  # A plugin may leave something where there is no item.
  dirty = jnp.where(mask[..., None], embedded, 7.0)
  candidate_rows = rows.gather(params.tables['item'], examples.CANDIDATES)

  @examples.jit
  def score(stages, embedded):
    extractor = params.net['extractor']
    summary = stages.summarize(extractor, embedded, mask)
    features = stages.extract(extractor, summary, candidate_rows)
    return stages.classify(params.net['classifier'], features, candidate_rows)

  real = np.array(examples.LENGTHS) > 0
  chex.assert_trees_all_close(
    score(stages, dirty)[real],
    score(stages, embedded)[real],
    rtol=1e-5,
    atol=1e-6,
  )


@pytest.mark.parametrize('name', TRAINED)
def test_gradients_are_finite_also_for_an_empty_history(name):
  model, params = examples.make(name), examples.params(name)

  def loss(params, model):
    values = examples.one_pass(
      model, params, examples.HISTORY, examples.CANDIDATES
    )
    return jnp.sum(jax.nn.softplus(values))

  value_and_grad = lambda model, params: jax.value_and_grad(loss)(params, model)
  value, grads = examples.jit(value_and_grad)(model, params)
  chex.assert_tree_all_finite((value, grads))
  moved = [float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(grads)]
  assert np.mean(np.array(moved) > 0) > 0.7


@pytest.mark.parametrize('name', TRAINED)
def test_bfloat16_is_close_and_leaves_parameters_and_scores_in_float32(name):
  params = examples.params(name)
  half = examples.make(name, compute_dtype='bfloat16')
  actual = examples.scores(half, params, examples.HISTORY, examples.CANDIDATES)
  expected = examples.scores(
    examples.make(name), params, examples.HISTORY, examples.CANDIDATES
  )
  assert actual.dtype == jnp.float32
  # Eight bits of fraction, through a few layers.
  scale = float(jnp.max(jnp.abs(expected)))
  chex.assert_trees_all_close(actual, expected, atol=0.05 * scale)
  init = functools.partial(half.init, sizes=examples.SIZES)
  fresh = jax.eval_shape(init, jax.random.key(0), {})
  assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {np.dtype('f4')}


@pytest.mark.parametrize(('name', 'changes'), CAUSAL)
def test_a_position_is_encoded_like_the_prefix_that_ends_there(name, changes):
  model = examples.make(name, **changes)
  params = examples.params(name, **changes)
  history = examples.HISTORY[:1]
  length = history.shape[1]
  prefixes = np.tril(np.ones((length, length), np.int32)) * history
  positions = examples.encode_positions(model, params, history)
  chex.assert_trees_all_close(
    jax.tree.map(lambda leaf: leaf[0], positions),
    examples.encode(model, params, prefixes),
    rtol=1e-5,
    atol=1e-5,
  )


@pytest.mark.parametrize(
  ('name', 'changes'),
  (
    *CAUSAL,
    ('sasrec_original', {}),
    ('gru4rec_product', {}),
    ('hstu', {}),
    ('ligr', {}),
  ),
)
def test_every_position_scores_its_own_candidates(name, changes):
  model = examples.make(name, **changes)
  params = examples.params(name, **changes)
  positions = examples.encode_positions(model, params, examples.HISTORY)
  batch, length = examples.HISTORY.shape
  rng = np.random.default_rng(2)
  shape = (batch, length, 3)
  ids = rng.integers(1, examples.SIZES.num_items + 1, shape, dtype=np.int32)
  actual = examples.score_encoded(model, params, positions, ids)
  chex.assert_shape(actual, shape)
  flat = jax.tree.map(
    lambda leaf: leaf.reshape(batch * length, *leaf.shape[2:]), positions
  )
  expected = examples.score_encoded(model, params, flat, ids.reshape(-1, 3))
  chex.assert_trees_all_close(
    actual.reshape(-1, 3), expected, rtol=1e-5, atol=1e-6
  )
  shared = examples.score_encoded(model, params, positions, ids[0, 0])
  expected = examples.score_encoded(model, params, flat, ids[0, 0])
  chex.assert_trees_all_close(
    shared.reshape(-1, 3), expected, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize(
  'name', ['din', 'din_original', 'sasrec', 'dien', 'mimn']
)
def test_a_model_that_looks_ahead_has_no_encoding_per_position(name):
  assert examples.make(name).encode_positions is None


@pytest.mark.parametrize('name', ALL)
def test_an_option_that_would_change_nothing_is_refused(name):
  others = {
    'hidden': (5,), 'num_layers': 3, 'num_heads': 2, 'dropout': 0.1,
    'causal': True, 'authors_quirk': True, 'attention_norm': True,
    'augru': 'code',
    'memory_slots': 3,
    'auxiliary_weight': 0.5,
  }  # fmt: skip
  for option, value in others.items():
    options = config.ModelConfig(name=name, **{option: value})
    if option in models.OPTIONS[name]:
      models.make(options)
    else:
      with pytest.raises(types.UserError, match='no such option.*width'):
        models.make(options)


def test_options_are_not_changed_by_making_a_model():
  for name in ALL:
    options = config.ModelConfig(name=name)
    before = dataclasses.asdict(options)
    models.make(options)
    assert dataclasses.asdict(options) == before
