import pytest

from twotsrec.data import usual_names


@pytest.mark.parametrize(
  ('name', 'role'),
  [
    ('customer', 'user'),
    ('visitorid', ''),
    ('visitorId', 'user'),
    ('CUSTOMER_ID', 'user'),
    ('sku', 'item'),
    ('productSKU', 'item'),
    ('created_at', 'time'),
    ('event_time', 'time'),
    ('event', 'behavior'),
    ('event_type', 'behavior'),
    ('event_id', ''),
    ('user_event', 'behavior'),
    ('price', ''),
    ('status', ''),
    ('', ''),
  ],
)
def test_a_name_tells_the_role_by_its_words(name, role):
  assert usual_names.role(name) == role


def test_ids_go_before_other_properties():
  names = ['event_time', 'event_type', 'product_name', 'product_id']
  names += ['price', 'user_session', 'user_id']
  assert usual_names.flags(names) == (
    '--user_column=user_id --item_column=product_id --time_column=event_time'
  )
  assert usual_names.find(names)['behavior'] == 'event_type'
  assert usual_names.flags(['a', 'price']) == ''


def test_behaviors_are_in_the_order_in_which_people_show_them():
  names = ['Purchase', 'addToCart', 'page_view', 'wishlist']
  usual = ['page_view', 'wishlist', 'addToCart', 'Purchase']
  assert usual_names.steps(names, [4, 3, 2, 1]) == usual
  names[3] = 'x'  # the rarest last, if one is no word of a shop
  assert usual_names.steps(names, [1, 2, 9, 4]) == [
    'page_view', 'x', 'addToCart', 'Purchase',
  ]  # fmt: skip
