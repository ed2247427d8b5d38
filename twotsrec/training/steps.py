"""One update, and many of them in one compiled call.

A gradient function is what tells methods apart:
  (params, context, batch, state of the method, key)
    -> (gradient, state, summed losses f32[G], counts f32[G])
"""

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

Gradient = Callable[..., tuple[Any, ...]]
# (params, context, batch of one group, key) -> f32[]
GroupLoss = Callable[..., jax.Array]


class TrainState(NamedTuple):
  """All that an update reads and writes.

  Attributes:
    step: i32[], updates made.
    params: types.Params, or a tree of a recipe's own.
    opt_state: of the optimizer.
    aggregator_state: of the aggregator, or whatever method takes its place.
    key: PRNG key of the experiment; a step folds its number in.
  """

  step: jax.Array
  params: types.PyTree
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
  params: types.PyTree,
  optimizer: Any,
  aggregator_state: types.PyTree,
  key: jax.Array,
) -> TrainState:
  """State before the first update; `optimizer` is of optax, or a `Mover`."""
  step, opt_state = jnp.zeros((), jnp.int32), optimizer.init(params)
  return TrainState(step, params, opt_state, aggregator_state, key)


def init_totals(num_groups: int) -> Totals:
  """Empty sums."""
  # Two arrays, not one twice: donated memory must not be shared.
  loss, weight = (jnp.zeros(num_groups, jnp.float32) for _ in range(2))
  return Totals(loss, weight, jnp.asarray(-1, jnp.int32), jnp.asarray(False))


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


def one_pass(loss: Callable[..., Any]) -> Gradient:
  """The gradient of one number.

  Args:
    loss: (params, context, batch, state, key) -> (f32[], (state, losses,
      counts)).
  """
  slope = jax.grad(loss, has_aux=True)

  def gradient(params, context, batch, state, key):
    grads, totals = slope(params, context, batch, state, key)
    return grads, *totals

  return gradient


def weighted(
  aggregator: types.GradientAggregator, sizes: jax.Array, what: str
) -> Callable[..., tuple[jax.Array, jax.Array, jax.Array]]:
  """The one loss whose gradient a linear aggregator gives.

      sum_j w_j (1/b_j) sum_i l_i

  Args:
    aggregator: gives the w_j.
    sizes: f32[G], training samples per group.
    what: asks for it, for the message.
  Returns:
    (values f32[B], batch) -> (that loss f32[], summed losses f32[G], b_j
    f32[G]); a filling example has no part in any of them.
  Raises:
    types.UserError: an aggregator that needs the group gradients.
  """
  weights = aggregator.weights
  if weights is None:
    raise types.UserError(
      f'{what} needs an aggregator whose weights are known before the gradient;'
      ' use joint, backdoor or class_balanced'
    )

  def weigh(values, batch):
    sums, counts = objectives.group_totals(values, batch, sizes.shape[0])
    group_weights = weights(types.GroupInfo(sizes, counts))
    share = group_weights / jnp.where(counts > 0, counts, 1.0)
    weight = share[batch.group] * batch.weight
    loss = jnp.sum(jnp.where(weight > 0, weight * values, 0.0))
    return loss, sums, counts

  return weigh


def make_gradient(
  objective: objectives.Objective,
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
  form: str = 'auto',
  widths: Sequence[int] | None = None,
) -> Gradient:
  """The gradient of losses by group, aggregated.

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
    weigh = weighted(aggregator, sizes, 'aggregator.form fused')

    def loss(params, context, batch, state, key):
      value, *totals = weigh(objective(params, context, batch, key), batch)
      return value, (state, *totals)

    return one_pass(loss)
  group_gradients = make_group_gradients(objective, widths)

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
  slope = jax.value_and_grad(of_shared(make_group_loss(objective)))
  mapped = grouped.map_groups(slope, widths)
  return lambda params, *arguments: mapped(params, (), *arguments)


def make_group_loss(objective: objectives.Objective) -> GroupLoss:
  """(params, context, batch of one group, key) -> its mean loss, f32[]."""

  def group_loss(params, context, batch, key):
    values = objective(params, context, batch, key)
    sums, counts = objectives.group_totals(
      values, batch._replace(group=jnp.zeros_like(batch.group)), 1
    )
    return sums[0] / jnp.where(counts[0] > 0, counts[0], 1.0)

  return group_loss


def of_shared(group_loss: GroupLoss) -> Callable[..., jax.Array]:
  """The loss as `grouped.map_groups` takes it, of what all groups share."""
  return lambda shared, own, *arguments: group_loss(shared, *arguments)


def make_post(
  losses: Callable[..., tuple[jax.Array, jax.Array]],
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
) -> Callable[..., Any] | None:
  """(params, context, batch, state, key) -> state of the aggregator.

  Shows it the losses of the same batch after the update, with the same dropout
  as the gradient had. None if it does not ask for them: then nothing is
  computed.

  Args:
    losses: (params, context, batch, key) -> (mean losses, counts), f32[G].
    aggregator: whose `post` is called.
    sizes: f32[G], training samples per group.
  """
  learn = aggregator.post
  if learn is None:
    return None

  def post(params, context, batch, state, key):
    means, counts = losses(params, context, batch, key)
    return learn(types.GroupInfo(sizes, counts, means), state)

  return post


def make_losses(
  loss: Callable[..., jax.Array],
  widths: Sequence[int] | None = None,
  split: Callable[[Any], tuple[Any, Any]] = lambda params: (params, ()),
) -> Callable[..., tuple[jax.Array, jax.Array]]:
  """The losses of batches [G, B, ...] that `make_post` takes.

  Args:
    loss: of one group, as in `grouped.map_groups`.
    widths: rows that each group fills at most.
    split: params -> (what groups share, what each has of its own).
  """
  mapped = grouped.map_groups(loss, widths)

  def losses(params, context, batch, key):
    group_key, _ = jax.random.split(key)
    means = mapped(*split(params), context, batch, group_key)
    return means, jnp.sum(batch.weight, axis=1)

  return losses


class Mover(NamedTuple):
  """An optimizer that gives new parameters, not what to add to the old ones.

  Attributes:
    init: params -> state.
    update: (params, state, grads, batch, counts f32[G], rate) -> (params,
      state); `rate` is what `make_runner` was told, or None.
  """

  init: Callable[[Any], Any]
  update: Callable[..., tuple[Any, Any]]


def as_mover(optimizer: optax.GradientTransformation | Mover) -> Mover:
  """Any optimizer of optax, told `counts=` and `rate=` if it takes them."""
  if isinstance(optimizer, Mover):
    return optimizer
  optimizer = optax.with_extra_args_support(optimizer)

  def update(params, state, grads, batch, counts, rate):
    del batch
    told = {'counts': counts, 'rate': rate}
    moves, state = optimizer.update(grads, state, params, **told)
    return optax.apply_updates(params, moves), state

  return Mover(optimizer.init, update)


def make_step(
  gradient: Gradient,
  optimizer: optax.GradientTransformation | Mover,
  post: Callable[..., Any] | None = None,
) -> Callable[..., tuple[TrainState, Totals]]:
  """(state, totals, context, batch, rate=None) -> (state, totals): one update.

  Args:
    gradient: from `make_gradient` or another method.
    optimizer: what it is given to.
    post: from `make_post`.
  """
  mover = as_mover(optimizer)

  def step(state, totals, context, batch, rate=None):
    key = jax.random.fold_in(state.key, state.step)
    grads, aggregator_state, losses, counts = gradient(
      state.params, context, batch, state.aggregator_state, key
    )
    params, opt_state = mover.update(
      state.params, state.opt_state, grads, batch, counts, rate
    )
    if post is not None:
      aggregator_state = post(params, context, batch, aggregator_state, key)
    # The first number that is not finite is remembered.
    finite_loss = jnp.all(jnp.isfinite(losses))
    first = ~(finite_loss & trees.all_finite(grads)) & (totals.bad_step < 0)
    totals = Totals(
      totals.loss + losses,
      totals.weight + counts,
      jnp.where(first, state.step, totals.bad_step),
      jnp.where(first, ~finite_loss, totals.bad_loss),
    )
    state = TrainState(
      state.step + 1, params, opt_state, aggregator_state, state.key
    )
    return state, totals

  return step


def make_runner(
  step: Callable[..., Any], batch_of: Callable[..., types.Batch]
) -> Callable[..., tuple[TrainState, Totals]]:
  """Compiles many steps into one call; old state and totals are donated.

  The result is (state, totals, context, feed, plan, key, start, stop,
  rate=None) -> (state, totals), making the updates of plan[start:stop]. A
  `lax.scan` of the plan with a length known only at run time: the host may stop
  anywhere, for a checkpoint or a signal, without compiling again and without a
  changed bit. A learning rate that is told is an argument as well.

  Args:
    step: from `make_step`.
    batch_of: (feed, examples, key) -> Batch; `examples` is a row of the plan.
  """

  def run(state, totals, context, feed, plan, key, start, stop, rate=None):
    told = () if rate is None else (rate,)

    def body(carry):
      index, state, totals = carry
      batch = batch_of(feed, plan[index], key)
      return (index + 1, *step(state, totals, context, batch, *told))

    def going(carry):
      index, _, totals = carry
      return (index < stop) & (totals.bad_step < 0)

    _, state, totals = jax.lax.while_loop(going, body, (start, state, totals))
    return state, totals

  return jax.jit(run, donate_argnums=(0, 1))
