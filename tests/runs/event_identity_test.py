import numpy as np

from twotsrec.data import ids as ids_lib
from twotsrec.runs import event_identity


def test_what_differs_has_another_identity():
  item, time = np.meshgrid(np.arange(1, 60), np.arange(-50, 50) / 4)
  made = event_identity.of_times(item.ravel(), time.ravel())
  assert len(np.unique(made)) == item.size
  names = np.array(['a', 'b', 'ab', 'ba', 'a1', '1a', '007', '7', 'é', ''])
  assert len(np.unique(event_identity.of_ids(names))) == len(names)


def test_an_identity_depends_on_the_value_alone():
  zeros = event_identity.of_times(np.array([3, 3]), np.array([0.0, -0.0]))
  assert zeros[0] == zeros[1]
  narrow, wide = np.array(['ab', 'c']), np.array(['ab', 'c', 'a long one'])
  first = event_identity.of_ids(narrow)
  np.testing.assert_array_equal(first, event_identity.of_ids(wide)[:2])
  column = ids_lib.Texts(wide, np.array([1, 0, 1], np.int32))
  np.testing.assert_array_equal(
    event_identity.of_ids(column), event_identity.of_ids(wide)[[1, 0, 1]]
  )


def test_an_event_without_a_time_has_none():
  made = event_identity.of_times(np.array([1, 1]), np.array([np.nan, 5]))
  assert made[0] == event_identity.NONE != made[1]


def test_items_outside_of_the_catalog_differ_from_each_other():
  external = np.array([50, 60, 70, 60])
  numbers = event_identity.of_items(np.array([4, 0, 0, 0], np.int32), external)
  assert numbers[0] == 4 and numbers[1] == numbers[3] != numbers[2]
  assert np.all(numbers[1:] < 0)
  known = np.array([1, 2], np.int32)
  np.testing.assert_array_equal(event_identity.of_items(known, None), [1, 2])


def test_identities_stay_what_they_are():
  # They are kept beside states, so a change of the numbers forgets all events.
  # SplitMix64 of 0, as its authors publish it.
  value = event_identity.of_ids(np.array([0]))[0]
  assert np.int64(value).view(np.uint64) == 0xE220A8397B1DCDAF
