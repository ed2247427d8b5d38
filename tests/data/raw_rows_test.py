import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import raw_rows
from twotsrec.data import rows


def test_files_are_found_in_the_root_or_in_their_folder(tmp_path):
  (tmp_path / 'known').mkdir()
  for place in (tmp_path / 'f.csv.gz', tmp_path / 'known' / 'f.csv'):
    place.write_bytes(b'')
    assert raw_rows.find(tmp_path, 'known', 'f.csv') == place
  with pytest.raises(types.UserError, match=r'g\.csv is in DIR or in DIR/k'):
    raw_rows.find(tmp_path, 'known', 'g.csv')
  with pytest.raises(types.UserError, match='--data_root=DIR'):
    raw_rows.find('', 'known', 'f.csv')


def test_a_file_of_which_nothing_is_left_is_told(tmp_path):
  none = rows.Rows({}, np.zeros(0, int), 3, {'strange': rows.Dropped(3, (1,))})
  with pytest.raises(
    types.UserError, match=r'no row is left of 3 \(strange: 3'
  ):
    raw_rows.table(tmp_path, none, user=np.zeros(0), item=np.zeros(0))
