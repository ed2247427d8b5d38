import pytest

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.recipes import unread

ROW = unread.Unread(
  ('model.hidden', 'model.name'),
  lambda c: c.train.epochs == 3,
  'changes nothing after {c.train.epochs} epochs',
  harmless=('gru4rec',),
)


def _config(name, epochs=3):
  config = config_lib.Config()
  config.model.name, config.train.epochs = name, epochs
  return config


def test_a_value_is_refused_in_a_line_that_says_why_and_the_way_out():
  default = config_lib.Config().model.name
  with pytest.raises(types.UserError) as caught:
    unread.refuse(_config('sasrec'), [ROW])
  assert str(caught.value) == (
    f"model.name 'sasrec' changes nothing after 3 epochs; leave it at"
    f' {default!r}'
  )


@pytest.mark.parametrize(
  ('name', 'epochs'),
  [(config_lib.Config().model.name, 3), ('gru4rec', 3), ('sasrec', 4)],
)
def test_defaults_harmless_values_and_other_runs_pass(name, epochs):
  unread.refuse(_config(name, epochs), [ROW])
