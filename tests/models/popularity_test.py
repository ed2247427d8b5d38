import numpy as np

from tests.models import examples


def test_a_score_is_the_count_of_the_item():
  model = examples.make('popularity')
  params = model.init(None, {'item_counts': examples.COUNTS}, examples.SIZES)
  actual = examples.scores(model, params, examples.HISTORY, examples.CANDIDATES)
  np.testing.assert_array_equal(actual, examples.COUNTS[examples.CANDIDATES])
  assert params.net == {}
