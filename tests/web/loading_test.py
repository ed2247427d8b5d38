"""A model from its folder, and the next one."""

import os
import shutil
import threading

import pytest

from tests import finished
from tests.runs import postgres
from tests.web import serviced
from twotsrec import types
from twotsrec.runs import exports
from twotsrec.runs import live as live_lib
from twotsrec.runs import opened
from twotsrec.runs import state_store
from twotsrec.web import limits
from twotsrec.web import loading
from twotsrec.web import service


def test_a_version_is_of_a_folder_and_what_is_in_it(tmp_path):
  run = str(finished.coming_back())
  copy = shutil.copytree(run, tmp_path / 'copy')
  names = {loading.version(one) for one in (run, str(copy))}
  assert len(names) == 2
  (tmp_path / 'link').symlink_to(copy)
  assert loading.version(str(tmp_path / 'link')) == loading.version(str(copy))
  before = loading.version(str(copy))
  os.utime(copy / 'report.json', ns=(1, 1))
  assert loading.version(str(copy)) != before
  with pytest.raises(types.UserError, match='no finished run'):
    loading.version(str(tmp_path))


def test_a_link_that_is_pointed_elsewhere_is_followed(tmp_path):
  first, second = finished.coming_back(), tmp_path / 'export'
  exports.run(str(first), str(second), ['cpu'])
  link, told, changed = tmp_path / 'now', [], threading.Event()

  def point(target):
    other = tmp_path / 'other'
    other.symlink_to(target)
    os.replace(other, link)

  def tell(line):
    told.append(line)
    changed.set()

  point(first)
  options, body = loading.Options(str(link)), {'users': [1], 'k': 3}
  with service.running(options, limits.Limits(), 0.05, tell) as app:
    (before,) = serviced.post(app, ('/recommend', body))
    broken = tmp_path / 'broken'
    broken.mkdir()
    point(broken)  # the model until now goes on
    assert changed.wait(60)
    assert 'goes on' in told[0] and 'no finished run' in told[0]
    changed.clear()
    (still,) = serviced.post(app, ('/recommend', body))
    assert still.json() == before.json()
    point(second)
    assert changed.wait(60)
    (after,) = serviced.post(app, ('/recommend', body))
    assert len(told) == 2
  assert after.json()['model'] == loading.version(str(second))
  assert after.json()['model'] != before.json()['model']
  lists = [one.json()['lists'][0]['items'] for one in (before, after)]
  assert lists[0] == lists[1]


@pytest.mark.parametrize('kind', ['sqlite', 'postgres'])
def test_two_servers_hand_their_events_on_to_the_next_run(kind, tmp_path):
  """The one that changes later has stored an event meanwhile: none is lost."""
  place = postgres.url() if kind == 'postgres' else str(tmp_path / 'states')
  now, following = (
    loading.load(loading.Options(str(finished.two_time(variant)), place))
    for variant in ('2ts', 'one_gru')
  )
  item = _item()

  def play(model, second):
    event = live_lib.Event('somebody', item, 2e9 + second, f'e{second}')
    (played,) = live_lib.play(model.live, [[event]])
    assert played.repeated == 0

  first, second = now.make(None), now.make(None)
  play(first, 0)
  play(second, 5)
  early = following.make(first)
  play(early, 9)
  play(second, 7)
  late = following.make(second)
  play(late, 11)
  stored = state_store.read_all(early.live.store)
  for model in (first, second, early, late):
    model.close()
  assert stored.ids.tolist() == ['somebody']
  assert (stored.window.time - 2e9).tolist() == [0, 5, 7, 9, 11]


def _item():
  """An item that the runs of 2TS know."""
  data = opened.load(str(finished.two_time('2ts'))).experiment.prepared
  return data.item_ids[0].item()
