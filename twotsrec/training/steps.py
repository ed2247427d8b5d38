"""One update, and many of them in one compiled call."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from twotsrec import trees
from twotsrec import types
from twotsrec.objectives import sampled as objectives
from twotsrec.training import grouped

# (params, context, batch of one group, key) -> f32[]
GroupLoss = Callable[..., jax.Array]


class TrainState(NamedTuple):
  """All that an update reads and writes.

  Attributes:
    step: i32[], updates made.
    params: types.Params.
    opt_state: of optax.
    aggregator_state: of the aggregator.
    key: PRNG key of the experiment; a step folds its number in.
  """

  step: jax.Array
  params: types.Params
  opt_state: Any
  aggregator_state: Any
  key: jax.Array


class Totals(NamedTuple):
  """Sums over steps, read by the host between calls.

  Attributes:
    loss: f32[G], summed losses.
    weight: f32[G], summed weights.
    bad_step: i32[], first step with a non-finite number, or -1.
    bad_loss: bool[], whether it was the loss, or else the gradient.
  """

  loss: jax.Array
  weight: jax.Array
  bad_step: jax.Array
  bad_loss: jax.Array


def init_state(
  params: types.Params,
  optimizer: optax.GradientTransformation,
  aggregator_state: types.PyTree,
  key: jax.Array,
) -> TrainState:
  """State before the first update."""
  return TrainState(
    jnp.zeros((), jnp.int32),
    params,
    optimizer.init(params),
    aggregator_state,
    key,
  )


def init_totals(num_groups: int) -> Totals:
  """Empty sums."""
  # Two arrays, not one twice: donated memory must not be shared.
  zeros = lambda: jnp.zeros(num_groups, jnp.float32)
  return Totals(
    zeros(), zeros(), jnp.asarray(-1, jnp.int32), jnp.asarray(False)
  )


def resolve_form(aggregator: types.GradientAggregator, form: str) -> str:
  """'fused' or 'explicit'; 'auto' is fused wherever that is possible.

  Raises:
    types.UserError: unknown form, or 'fused' with an aggregator that needs
      the group gradients.
  """
  linear = aggregator.weights is not None
  if form == 'auto':
    return 'fused' if linear else 'explicit'
  if form == 'explicit' or (form == 'fused' and linear):
    return form
  raise types.UserError(
    f'aggregator form {form!r}; known: auto, fused (only for weights known'
    ' before the gradient), explicit'
  )


def make_gradient(
  objective: objectives.Objective,
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
  form: str = 'auto',
  widths: Sequence[int] | None = None,
) -> Callable[..., Any]:
  """(params, context, batch, state, key) -> (grads, state, losses, counts).

  'fused' differentiates one weighted loss: possible when the aggregator's
  weights are known before the gradient, and one backward pass whatever the
  number of groups. 'explicit' is PIN eq. 7 to the letter: a gradient per group
  by `vmap`, then the aggregator on the stacked trees; its batch leaves are
  [G, B, ...]. Both give the same gradient.

  Args:
    objective: losses per example.
    aggregator: how groups are weighed.
    sizes: f32[G], training samples per group.
    form: 'auto', 'fused' or 'explicit'.
    widths: rows that each group fills at most, as in `grouped.map_groups`.
  Raises:
    types.UserError: as `resolve_form`.
  """
  if resolve_form(aggregator, form) == 'fused':
    return _fused_gradient(objective, aggregator, sizes)
  group_gradients = make_group_gradients(objective, widths)
  return explicit(group_gradients, aggregator, sizes)


def make_post(
  group_loss: GroupLoss,
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
  widths: Sequence[int] | None = None,
) -> Callable[..., Any] | None:
  """(params, context, batch, aggregator state, key) -> aggregator state.

  Shows the aggregator the group losses after the update, on the same batch
  [G, B, ...] and with the same dropout as the gradient had. None if it does
  not ask for them: then nothing is computed.
  """
  if aggregator.post is None:
    return None

  def one(shared, key, batch):
    return group_loss(*shared, batch, key)

  mapped = grouped.map_groups(one, widths)

  def post(params, context, batch, state, key):
    group_key, _ = jax.random.split(key)
    keys = jax.random.split(group_key, sizes.shape[0])
    losses = mapped((params, context), keys, batch)
    counts = jnp.sum(batch.weight, axis=1)
    return aggregator.post(types.GroupInfo(sizes, counts, losses), state)

  return post


def fused_weights(
  batch: types.Batch,
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Weight of every example in the one loss of a linear aggregator.

  Returns:
    (f32[B], w_j / b_j for an example of group j and 0 for filling; f32[G], the
    examples b_j of each group).
  """
  num_groups = sizes.shape[0]
  counts = jnp.sum(
    jax.nn.one_hot(batch.group, num_groups) * batch.weight[:, None], axis=0
  )
  group_weights = aggregator.weights(types.GroupInfo(sizes, counts))
  share = group_weights / jnp.where(counts > 0, counts, 1.0)
  return share[batch.group] * batch.weight, counts


def _fused_gradient(objective, aggregator, sizes):
  """One backward pass through sum_j w_j (1/b_j) sum_i l_i."""

  def gradient(params, context, batch, state, key):
    weight, counts = fused_weights(batch, aggregator, sizes)

    def loss(params):
      values = objective(params, context, batch, key)
      return jnp.sum(jnp.where(weight > 0, weight * values, 0.0)), values

    grads, values = jax.grad(loss, has_aux=True)(params)
    sums, _ = objectives.group_totals(values, batch, sizes.shape[0])
    return grads, state, sums, counts

  return gradient


def explicit(
  group_gradients: Callable[..., Any],
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
) -> Callable[..., Any]:
  """A gradient per group, then the aggregator; as `make_gradient`.

  Args:
    group_gradients: (params, context, batch [G, B, ...], key) -> (f32[G],
      gradients with leaves [G, ...]).
    aggregator: of these gradients.
    sizes: f32[G], training samples per group.
  """

  def gradient(params, context, batch, state, key):
    chex.assert_axis_dimension(batch.weight, 0, sizes.shape[0])
    group_key, aggregator_key = jax.random.split(key)
    losses, group_grads = group_gradients(params, context, batch, group_key)
    counts = jnp.sum(batch.weight, axis=1)
    info = types.GroupInfo(sizes, counts, losses)
    grads, state, _ = aggregator.update(
      group_grads, info, state, key=aggregator_key
    )
    return grads, state, losses * counts, counts

  return gradient


def make_group_gradients(
  objective: objectives.Objective, widths: Sequence[int] | None = None
) -> Callable[..., Any]:
  """(params, context, batch [G, B, ...], key) -> (f32[G], leaves [G, ...]).

  The mean loss and its gradient of every group.
  """
  loss_and_gradient = jax.value_and_grad(make_group_loss(objective))

  def one(shared, key, batch):
    return loss_and_gradient(*shared, batch, key)

  mapped = grouped.map_groups(one, widths)

  def group_gradients(params, context, batch, key):
    keys = jax.random.split(key, batch.weight.shape[0])
    return mapped((params, context), keys, batch)

  return group_gradients


def make_group_loss(objective: objectives.Objective) -> GroupLoss:
  """(params, context, batch of one group, key) -> its mean loss, f32[]."""

  def group_loss(params, context, batch, key):
    values = objective(params, context, batch, key)
    sums, counts = objectives.group_totals(
      values, batch._replace(group=jnp.zeros_like(batch.group)), 1
    )
    return sums[0] / jnp.where(counts[0] > 0, counts[0], 1.0)

  return group_loss


def make_step(
  gradient: Callable[..., Any],
  optimizer: optax.GradientTransformation,
  post: Callable[..., Any] | None = None,
) -> Callable[..., tuple[TrainState, Totals]]:
  """(state, totals, context, batch) -> (state, totals): one update.

  Args:
    gradient: from `make_gradient`.
    optimizer: what it is given to, with `counts=` f32[G], examples of each
      group, if it takes that.
    post: from `make_post`.
  """

  optimizer = optax.with_extra_args_support(optimizer)

  def step(state, totals, context, batch):
    key = jax.random.fold_in(state.key, state.step)
    grads, aggregator_state, losses, counts = gradient(
      state.params, context, batch, state.aggregator_state, key
    )
    updates, opt_state = optimizer.update(
      grads, state.opt_state, state.params, counts=counts
    )
    params = optax.apply_updates(state.params, updates)
    if post is not None:
      aggregator_state = post(params, context, batch, aggregator_state, key)
    totals = add_totals(totals, state.step, losses, counts, grads)
    state = TrainState(
      state.step + 1, params, opt_state, aggregator_state, state.key
    )
    return state, totals

  return step


def add_totals(
  totals: Totals,
  step: jax.Array,
  losses: jax.Array,
  counts: jax.Array,
  grads: types.PyTree,
) -> Totals:
  """Sums after an update; the first number that is not finite is kept."""
  finite_loss = jnp.all(jnp.isfinite(losses))
  finite = finite_loss & trees.all_finite(grads)
  first = ~finite & (totals.bad_step < 0)
  return Totals(
    totals.loss + losses,
    totals.weight + counts,
    jnp.where(first, step, totals.bad_step),
    jnp.where(first, ~finite_loss, totals.bad_loss),
  )


def make_runner(
  step: Callable[..., Any], batch_of: Callable[..., types.Batch]
) -> Callable[..., tuple[TrainState, Totals]]:
  """Compiles many steps into one call; old state and totals are donated.

  The result is (state, totals, context, feed, plan, key, start, stop) ->
  (state, totals), making the updates of plan[start:stop]. A `lax.scan` of the
  plan with a length known only at run time: the host may stop anywhere, for a
  checkpoint or a signal, without compiling again and without a changed bit.

  Args:
    step: from `make_step`.
    batch_of: (feed, examples, key) -> Batch; `examples` is a row of the plan.
  """

  def run(state, totals, context, feed, plan, key, start, stop):
    def body(carry):
      index, state, totals = carry
      batch = batch_of(feed, plan[index], key)
      return (index + 1, *step(state, totals, context, batch))

    def going(carry):
      index, _, totals = carry
      return (index < stop) & (totals.bad_step < 0)

    _, state, totals = jax.lax.while_loop(going, body, (start, state, totals))
    return state, totals

  return jax.jit(run, donate_argnums=(0, 1))
