import numpy as np
import pytest

from tests.studies import online_finished as finished
from twotsrec import types
from twotsrec.evaluation import online_report
from twotsrec.training import online_rows as two_time_rows


def test_what_is_read_reports_like_what_was_saved(tmp_path):
  model, popular = finished.ranked(), finished.ranked(worse=9)
  two_time_rows.save(tmp_path, model, {'popularity': popular})
  found = two_time_rows.read(tmp_path)
  options = finished.OPTIONS._replace(threshold=finished.THRESHOLD)
  for here, there in zip(found, (model, popular)):
    assert online_report.build(here, options) == online_report.build(
      there, options
    )
  np.testing.assert_array_equal(found.model['movement'], model['movement'])
  assert not found.popularity['norm'].any()


def test_sampled_lists_are_kept_where_there_are_some(tmp_path):
  model = finished.ranked()
  model |= {'better_sampled': model['better'], 'tied_sampled': model['tied']}
  two_time_rows.save(tmp_path, model, {'popularity': model})
  found = two_time_rows.read(tmp_path)
  for arrays in found:
    np.testing.assert_array_equal(arrays['better_sampled'], model['better'])


def test_missing_and_damaged_rows_are_one_line(tmp_path):
  with pytest.raises(types.UserError, match='online.npz'):
    two_time_rows.read(tmp_path)
  model = finished.ranked()
  two_time_rows.save(tmp_path, model, {'popularity': model})
  path = tmp_path / two_time_rows.NAME
  path.write_bytes(path.read_bytes()[:200])
  with pytest.raises(types.UserError, match='is damaged'):
    two_time_rows.read(tmp_path)
  np.savez(path, event=model['event'])
  with pytest.raises(types.UserError, match='is damaged') as error:
    two_time_rows.read(tmp_path)
  assert '\n' not in str(error.value)
