import struct
import zlib

import numpy as np
import pytest

from tests.serving import online_toys
from twotsrec import types
from twotsrec.serving import online
from twotsrec.serving import online_bytes


@pytest.fixture(scope='module')
def service():
  return online_toys.world().service


def _signed(record):
  """The record with the checksum of what it now holds."""
  body = bytes(record[:-4])
  return body + struct.pack('<I', zlib.crc32(body))


def _changed(record, at, values):
  return record[:at] + values + record[at + len(values) :]


def _refused(service, data):
  with pytest.raises(types.UserError) as error:
    online_bytes.from_bytes(service, data)
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)


def test_states_come_back_bit_for_bit(service):
  state = online.start(service, [3, -1, 0, 3])
  state = online.update(service, state, [5, 6, 0, 7])
  odd = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
  state = state._replace(state=state.state.at[2].set(odd))
  data = online_bytes.to_bytes(service, state)
  found = online_bytes.from_bytes(service, data)
  for before, after in zip(state, found, strict=True):
    before, after = np.asarray(before), np.asarray(after)
    assert before.dtype == after.dtype and before.tobytes() == after.tobytes()
  # And go on as if they had never left.
  items = [1, 2, 3, 4]
  for first, second in zip(
    online.update(service, state, items), online.update(service, found, items)
  ):
    np.testing.assert_array_equal(first, second)


def test_a_user_is_a_small_record_that_stands_for_itself(service):
  users = [3, -1, 0]
  state = online.start(service, users)
  records = online_bytes.to_records(service, state)
  assert b''.join(records) == online_bytes.to_bytes(service, state)
  assert {len(record) for record in records} == {64 + 4 * service.state_width}
  assert online_bytes.record_size(service) == len(records[0])
  for user, record in zip(users, records):
    alone = online.start(service, user)
    assert online_bytes.to_records(service, alone) == [record]
  turned = online_bytes.from_bytes(service, records[::-1])
  for before, after in zip(state, turned):
    np.testing.assert_array_equal(before, after[::-1])


def test_damage_anywhere_is_found(service):
  record = online_bytes.to_bytes(service, online.start(service, [3]))
  for at in range(len(record)):
    for flip in (1, 128):
      wrong = bytes([record[at] ^ flip])
      message = _refused(service, _changed(record, at, wrong))
      assert message == (
        'state 1: damaged bytes; restore them from a copy, or start the user'
        ' anew'
      )
  for size in (*range(1, len(record)), 2 * len(record) - 1):
    assert 'damaged' in _refused(service, (2 * record)[:size])
  assert 'no bytes' in _refused(service, b'')
  third = 2 * record + _changed(record, 70, b'x')
  assert _refused(service, third).startswith('state 3: damaged')


def test_another_version_is_told(service):
  record = online_bytes.to_bytes(service, online.start(service, [3]))
  other = _signed(_changed(record, 4, struct.pack('<H', 2)))
  assert _refused(service, record + other) == (
    'state 2: format version 2, and this program reads 1; use the program that'
    ' wrote it, or start the user anew'
  )
  # Of another version only the frame is known.
  longer = _signed(b'2TSs' + struct.pack('<HI', 3, 500) + bytes(490))
  assert 'version 3' in _refused(service, longer)


def test_another_width_or_cell_is_told(service):
  for changes, told in (
    ({'model__width': 6}, 'of a gru of width 6'),
    ({'model__width': 2}, 'of a gru of width 2'),
    ({'two_time__cell': 'lstm'}, 'of a lstm of width 4'),
  ):
    other = online_toys.without_users(**changes)
    data = online_bytes.to_bytes(other, online.start(other, [-1, -1]))
    message = _refused(service, data)
    ours = ', and the run has a gru of width 4;'
    assert message.startswith(f'state 1: {told}{ours}')


def test_other_parameters_are_told(service):
  other = online_toys.without_users()
  assert online_bytes.record_size(other) == online_bytes.record_size(service)
  good = online_bytes.to_bytes(service, online.start(service, [3]))
  data = online_bytes.to_bytes(other, online.start(other, [-1]))
  assert _refused(service, good + data).startswith(
    'state 2: made with other parameters;'
  )


def test_numbers_out_of_range_are_damage(service):
  record = online_bytes.to_bytes(service, online.start(service, [3]))
  for name, at, form, value in (
    ('network', 10, '<H', len(service.networks)),
    ('group', 44, '<i', service.groups),
    ('group', 44, '<i', -1),
    ('last', 48, '<i', service.num_items + 1),
    ('count', 52, '<i', -1),
  ):
    wrong = _signed(_changed(record, at, struct.pack(form, value)))
    assert 'damaged' in _refused(service, wrong), name
