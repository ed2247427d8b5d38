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
