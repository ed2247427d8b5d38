import dataclasses
from typing import NamedTuple

import pytest

from tests.launch import scripts
from twotsrec import config as config_lib


@pytest.fixture
def script(capsys, undone):
  scripts.run(capsys, 'document_settings', '--check')
  module = scripts.load('document_settings')
  yield module
  delattr(module.flags.FLAGS, 'check')


def test_the_page_says_what_the_code_says(script):
  """If it fails, run: python launch/document_settings.py."""
  assert script.PAGE.read_text(encoding='utf-8') == script.page()


def test_every_setting_has_a_line(script):
  text = script.page()
  for section in dataclasses.fields(config_lib.Config):
    for field in dataclasses.fields(section.default_factory()):
      assert f'\n| `{section.name}.{field.name}` | `' in text


def test_comments_beside_and_above_a_field_are_its_own(script):
  source = '\n'.join(
    (
      'class A:',
      '  """Not a # comment."""',
      '  # of nothing',
      '',
      '  # above',
      '  # it',
      '  x: int = at_least(1, 512)  # beside',
      "  y: str = '#'  # sec. 1",
      '  z: float = above(',
      '    0, 1.0',
      '  )  # below',
      '  w: int = 0',
      '  def f(self): pass  # no field',
    )
  )
  assert script.field_comments.read(source) == {
    'A': {'x': 'above it beside', 'y': 'sec. 1', 'z': 'below', 'w': ''}
  }


def test_what_a_field_declares_is_what_is_allowed(script):
  class Setting(NamedTuple):
    limits: tuple[tuple[str, float], ...] = ()
    names: tuple[str, ...] = ()

  def told(**declared):
    metadata = {'setting': Setting(**declared)}
    field = dataclasses.field(default=0, metadata=metadata)
    return script.allowed('train.x', field)

  assert told(names=('a', 'b')) == '`a`, `b`'
  assert told(limits=(('at least', 0), ('below', 1))) == 'at least 0, below 1'
  plain = dataclasses.field(default='')
  assert script.allowed('train.x', plain) == ''
  assert script.allowed('plugin.name', plain).startswith('`none`, `light`')


def test_an_old_page_is_named_and_written(
  capsys, undone, tmp_path, monkeypatch
):
  load = scripts.load

  def elsewhere(name):
    module = load(name)
    module.PAGE = tmp_path / 'configs' / 'README.md'
    (tmp_path / 'configs').mkdir(exist_ok=True)
    module.ROOT = tmp_path
    return module

  monkeypatch.setattr(scripts, 'load', elsewhere)
  ended = scripts.run(capsys, 'document_settings', '--check')
  assert ended.code == 2 and ended.err.startswith('error: configs/README.md is')
  ended = scripts.run(capsys, 'document_settings')
  assert ended == (0, 'written to configs/README.md\n', '')
  assert scripts.run(capsys, 'document_settings', '--check') == (0, '', '')
