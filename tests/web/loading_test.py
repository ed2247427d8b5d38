"""A model from its folder, and the next one."""

import os
import shutil
import threading

import pytest

from tests import finished
from tests.web import serviced
from twotsrec import types
from twotsrec.runs import exports
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
