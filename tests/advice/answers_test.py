"""What a program is refused that asks a run or an export, followed."""

import pathlib
import shutil
import sys
from unittest import mock

import jax.numpy as jnp
import pytest

from tests import finished
from tests.advice import following
from tests.advice.copies import followed
from tests.advice.following import Call
from tests.advice.following import Case
from tests.advice.following import given
from tests.advice.following import switched
from tests.advice.tools_test import installed_with
from tests.runs import kinds
from twotsrec import contracts
from twotsrec import serving
from twotsrec import types
from twotsrec.runs import exports
from twotsrec.serving import approximate
from twotsrec.serving import export_folder
from twotsrec.serving import exported
from twotsrec.serving import exporting
from twotsrec.training import files

ITEM = 3  # of the run


def shop():
  return serving.open(finished.coming_back())


def export(folder: pathlib.Path) -> pathlib.Path:
  """An export, the only one of a session."""
  made = finished.folder() / 'coming_back.export'
  if not made.exists():
    exports.run(str(finished.coming_back()), str(made), ['cpu'])
  return pathlib.Path(shutil.copytree(made, folder / 'shop'))


def opened(folder, change):
  """Opens an export that is changed."""
  change(export(folder))
  return serving.load_exported(folder / 'shop')


def again(folder, *said):
  """Exports again, as is said."""
  shutil.rmtree(folder / 'shop')
  exports.run(str(finished.coming_back()), str(folder / 'shop'), ['cpu'])
  return serving.load_exported(folder / 'shop')


def without_faiss(folder):
  with mock.patch.dict(sys.modules, {'faiss': None}):
    return approximate.package()


def indexed(kind, folder, search='approximate'):
  """Exports with an index, as long as none is there."""
  options = exports.Search(search)
  workdir, out = str(kinds.KINDS[kind]()), str(folder / 'shop')
  exports.run(workdir, out, ['cpu'], overwrite=True, search=options)
  return serving.open(folder / 'shop', search)


def no_file(path):
  path.unlink()
  path.mkdir()


def told(folder, **changes):
  path = folder / export_folder.MANIFEST
  files.write_json(path, files.read_json(path) | changes)


def exported_model(size):
  """Exports a model that makes zeros of a size for its users."""
  table = {'item': {'embedding': jnp.ones((4, 2))}}
  model = types.Model(
    init=lambda key, context, sizes: None,
    encode=lambda net, rows, context, inputs, *, key=None: (
      jnp.zeros((size(inputs['user']), 2)) + rows['embedding'][:, 0]
    ),
    score=lambda net, encoded, rows, *, key=None: jnp.einsum(
      'bd,...cd->bc', encoded, rows['embedding']
    ),
  )
  ranker = contracts.Ranker(model, types.Params(table, {}), {})
  exporting.make(ranker, 3, 1, ['cpu'])


CALLS = [
  Call(
    'a program of this model cannot be exported',
    lambda folder: exported_model(len),
    r'write x\.shape\[0\] in place of len',
    lambda folder: exported_model(lambda x: x.shape[0]),
  ),
  Call(
    'give users or history: one of them',
    lambda folder: shop().recommend(users=[1], history=[ITEM]),
    'give users or history',
    lambda folder: shop().recommend(users=[1]),
  ),
  Call(
    'people.py: user {} is not in the training data',
    lambda folder: shop().recommend(users=['anna']),
    'recommend by a history of items or by what is popular',
    lambda folder: (shop().recommend(history=[ITEM]), shop().popular()),
  ),
  Call(
    'people.py: {}: item {} is not in the training',
    lambda folder: shop().scores(1, ['tea']),
    r'ids are like (\d+); leave it out',
    lambda folder, one: shop().scores(1, [one]),
  ),
  Call(
    'at_most is {} and new_share {}; at_most must',
    lambda folder: shop().rules(new_share=30),
    'new_share from 0 to (1)',
    lambda folder, most: shop().rules(new_share=float(most)),
  ),
  Call(
    '{} is not installed; run: pip install -e',
    without_faiss,
    r"pip install -e '\.\[(\w+)\]'",
    lambda folder, extra: installed_with(extra, 'faiss-cpu'),
  ),
  Call(
    'search is {}; it must be one of',
    lambda folder: serving.open(finished.coming_back(), search='quick'),
    'one of (exact), approximate',
    lambda folder, how: serving.open(finished.coming_back(), search=how),
  ),
  Call(
    'has no index of items for search=approximate',
    lambda folder: serving.open(finished.run('every_position'), 'approximate'),
    r'launch/export\.py --search=(approximate)',
    lambda folder, how: indexed('every_position', folder, how),
  ),
  Call(
    'scores of {} are no inner products of a user',
    lambda folder: indexed('ease', folder),
    'export it with --search=(exact)',
    lambda folder, how: indexed('ease', folder, how),
  ),
  Call(
    '{} has no reasons, as its score is not made',
    lambda folder: serving.open(finished.jodie()).recommend(
      users=serving.open(finished.jodie()).people.user_ids[:1], reasons=2
    ),
    r'train one of .*(ease)',
    lambda folder, name: shop().recommend(users=[1], reasons=2),
  ),
  Call(
    'reasons is {}; it must be at least',
    lambda folder: shop().recommend(users=[1], reasons=-1),
    'at least (0), where 0 is none',
    lambda folder, least: shop().recommend(users=[1], reasons=int(least)),
  ),
  Call(
    'the exported model gives scores that are not',
    lambda folder: exported.check_scores(True),
    'train with a lower learning_rate, and export that run',
    lambda folder: exported.check_scores(False),
  ),
  *(
    Call(
      says,
      lambda folder, change=change: opened(folder, change),
      'export the run again with launch/export.py',
      again,
    )
    for says, change in (
      (
        'export_folder.py: ({} it is missing)',
        lambda folder: (folder / export_folder.WEIGHTS).unlink(),
      ),
      (
        'export_folder.py: ({} its content is not what was exported)',
        lambda folder: (folder / export_folder.WEIGHTS).write_bytes(b'x'),
      ),
      (
        'export_folder.py: ({} it cannot be read ({}))',
        lambda folder: no_file(folder / export_folder.MANIFEST),
      ),
      (
        'export_folder.py: ({} it is not a manifest of an export)',
        lambda folder: (folder / export_folder.MANIFEST).write_text('{'),
      ),
      (
        'export_folder.py: {} has version {} of an export',
        lambda folder: told(folder, version=99),
      ),
    )
  ),
]
RUN = '--workdir=@/run'
CASES = [
  Case(
    '{} exists; name another folder, or give',
    ['--workdir=%runs/a', '--out=@/there'],
    [given('out', '@/here', says='(name another) folder')],
    {'there/notes.txt': 'mine'},
  ),
  Case(
    '{} exists; name another folder, or give',
    ['--workdir=%runs/a', '--out=@/there'],
    [switched('overwrite')],
    {'there': lambda path, runs: exports.run(str(runs / 'a'), str(path))},
  ),
  Case(
    'a run of {} whose groups have parameters of',
    [RUN, '--out=@/there'],
    [given('workdir', '%runs/a', says='(train with) plugin.select=global')],
    {'run': lambda path, runs: shutil.copytree(finished.run('separate'), path)},
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_a_program_is_served_as_advised(call, tmp_path):
  following.obey(call, tmp_path)


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_a_run_is_exported_as_advised(case, runs, capsys, tmp_path):
  followed('export', case, runs, capsys, tmp_path)
