"""What a reader copies from the pages exists, and runs."""

import importlib
import importlib.util
import json
import pathlib
import re
import sys

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import finished
from tests.launch import scripts
from tests.serving import online_toys
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.runs import run as run_lib
from twotsrec.studies import figures

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
RESULTS = sorted((ROOT / 'launch').glob('*/results/*.md'))
PAGES = {
  name: (ROOT / name).read_text(encoding='utf-8')
  for name in (
    'README.md',
    'launch/README.md',
    'configs/README.md',
    *(path.relative_to(ROOT).as_posix() for path in RESULTS),
  )
}
# Of the recipes and results; the list of settings names no file to run.
TEXT = '\n'.join(text for page, text in PAGES.items() if 'configs' not in page)
PROGRAMS = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
FRAMES = re.compile(r'<!-- table: .*?<!-- /table -->', re.DOTALL)


def _program(of):
  (program,) = [text for text in PROGRAMS if of in text]
  return program


def test_the_readme_is_short():
  assert len(README.splitlines()) <= 220


def test_every_flag_of_the_configuration_exists():
  named = set(re.findall(r'--config\.(\w+)\.(\w+)', TEXT))
  default = config_lib.Config()
  assert len(named) > 40
  for section, field in named:
    assert hasattr(getattr(default, section), field), f'{section}.{field}'


@pytest.mark.parametrize(
  'path',
  sorted(
    set(re.findall(r'(?<![\w/])(?:launch|configs)/[\w/]+\.[a-z]\w*', TEXT))
  ),
)
def test_every_file_named_exists(path):
  assert (ROOT / path).is_file()


@pytest.mark.parametrize(
  ('path', 'variant'),
  sorted(set(re.findall(r'(configs/[\w/]+\.py):(\w+)', TEXT))),
)
def test_every_experiment_named_can_be_made(path, variant):
  spec = importlib.util.spec_from_file_location('experiment', ROOT / path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  assert isinstance(module.get_config(variant), config_lib.Config)


def _advised():
  """What the table of models names: (file, variant, a change or ())."""
  rows = README.split('## Which model')[1].split('## ')[0].splitlines()
  for row in rows:
    files = re.findall(r'`(configs/[\w/]+\.py)(?::(\w+))?`', row)
    changes = re.findall(r'--config\.([\w.]+)=(\w+)', row)
    if '`' in row:
      for path, variant in files or [('configs/quickstart.py', '')]:
        yield from ((path, variant, change) for change in changes or [()])


@pytest.mark.parametrize(('path', 'variant', 'change'), sorted(_advised()))
def test_what_is_advised_is_accepted(path, variant, change):
  spec = importlib.util.spec_from_file_location('experiment', ROOT / path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config(*([variant] if variant else []))
  if change:
    name, value = change
    config_lib.change(config, {name: int(value) if value.isdigit() else value})
  recipes.check(config)


def _anchors(text):
  """Those that GitHub gives the headings of a page."""
  for heading in re.findall(r'^#+ (.*)$', text, re.MULTILINE):
    plain = re.sub(r'[^\w\- ]', '', heading.lower())
    yield plain.replace(' ', '-')


@pytest.mark.parametrize('page', PAGES)
def test_every_link_leads_somewhere(page):
  for link in re.findall(r'\]\(([^)\s]+)\)', PAGES[page]):
    path, _, anchor = link.partition('#')
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists(), link
    if anchor:
      assert anchor in _anchors(target.read_text(encoding='utf-8')), link


def _commands():
  """{script of launch/: names of the flags that some page gives it}."""
  lines = re.sub(r'\\\n\s*', '', TEXT).splitlines()
  scripts_named = {}
  for line in lines:
    command = re.search(r'python launch/([\w/]+)\.py (.*)', line)
    if command:
      names = re.findall(r'(?<!\S)--(?:no)?(\w+)', command[2].split('  #')[0])
      scripts_named.setdefault(command[1], set()).update(names)
  return scripts_named


@pytest.mark.parametrize('name', sorted(_commands()))
def test_every_flag_of_a_script_exists(name, monkeypatch):
  before = set(flags.FLAGS)
  monkeypatch.setattr(sys, 'argv', [f'{name}.py'])
  monkeypatch.setattr(sys, 'path', [str(scripts.LAUNCH), *sys.path])
  try:
    scripts.load(name)
    assert _commands()[name] <= set(flags.FLAGS) - before
  finally:
    for flag in set(flags.FLAGS) - before:
      delattr(flags.FLAGS, flag)


def test_numbers_of_the_readme_stand_on_a_page_of_results():
  """Those in its sentences; tests/launch/render_test.py has its tables."""
  pages = '\n'.join(path.read_text(encoding='utf-8') for path in RESULTS)
  sentences = FRAMES.sub('', README)
  for number in re.findall(r'(?<![\w.])\.\d{3,}\b', sentences):
    assert number in pages, number


def test_the_picture_is_drawn_from_its_numbers(monkeypatch):
  monkeypatch.setattr(sys, 'path', [str(scripts.LAUNCH), *sys.path])
  folder = ROOT / 'launch/reproduce/results'
  reports = json.loads((folder / 'quickstart.json').read_text('utf-8'))[
    'reports'
  ]
  picture = (folder / 'quickstart.svg').read_text('utf-8')
  before = set(flags.FLAGS)
  try:
    draw = scripts.load('draw')
    numbers = [*draw.only(reports, ['auc']).items()]
    assert figures.digest(numbers) in picture
  finally:
    for flag in set(flags.FLAGS) - before:
      delattr(flags.FLAGS, flag)
  assert (
    f'({(folder / "quickstart.svg").relative_to(ROOT).as_posix()})' in README
  )


def test_departures_are_marked_where_the_index_says():
  text = (ROOT / 'WORKSPACE.md').read_text(encoding='utf-8')
  index = text.split('## Departures from the papers')[1]
  package = ROOT / 'twotsrec'
  marked = {
    path.relative_to(package).as_posix()
    for path in package.rglob('*.py')
    if re.search(r'\bDeparture\b', path.read_text(encoding='utf-8'))
  }
  assert set(re.findall(r'`([\w/]+\.py)`', index)) == marked


@pytest.mark.parametrize(
  ('module', 'name'),
  sorted(set(re.findall(r'(bounds|power_law|simulation)\.(\w+)', TEXT))),
)
def test_every_part_of_the_theory_exists(module, name):
  assert hasattr(importlib.import_module(f'twotsrec.theory.{module}'), name)


def test_states_move_as_the_example_says(tmp_path, capsys):
  world = online_toys.world()
  workdir = online_toys.save_run(world, tmp_path / 'run')
  text = _program(of='open_run').replace('runs/2ts', str(workdir))
  text = text.replace('states.db', str(tmp_path / 'states.db'))
  names = {}
  exec(compile(text, 'README.md', 'exec'), names)
  assert (names['best'].ids > 0).all()  # 0 would print the last item's id
  assert names['played'].new_users == len(names['users'].ids) == 3
  assert capsys.readouterr().out
  # One clock that counts milliseconds moves nobody.
  assert text.count('1.7e9])') == 1
  text = text.replace('1.7e9])', '1.7e12])').replace('.db', '2.db')
  exec(compile(text, 'README.md', 'exec'), names)
  assert names['absurd'].tolist() == [False, False, True] and names['why']
  assert np.max(names['users'].last_time) == 1.7e9


def test_the_program_of_a_shop_answers(capsys):
  text = _program(of='serving.open(')
  items = {"'tea'": '3', "'cup'": '5', "'ann'": '1', "'bob'": '2'}
  for name, number in {**items, "'sold out'": '7'}.items():
    assert name in text
    text = text.replace(name, number)
  text = text.replace('runs/mine', str(finished.coming_back()))
  names = {}
  exec(compile(text, 'README.md', 'exec'), names)
  # Two arrays of each list, and of the reasons of an item.
  assert len(capsys.readouterr().out.split('[')) == 1 + 2 * 3
  assert names['rules'].at_most == 2


def _small(monkeypatch):
  """Trainings get a log and a model that are small enough for a test."""
  whole = run_lib.train

  def train(settings, workdir, *how):
    config_lib.change(
      settings,
      {'data.users': 25, 'train.epochs': 1, 'model.width': 4},
    )
    return whole(settings, workdir, quiet=True)

  monkeypatch.setattr(run_lib, 'train', train)


def test_the_library_example_trains(tmp_path, monkeypatch):
  text = _program(of='run_lib.train').replace(
    'runs/library', str(tmp_path / 'a')
  )
  _small(monkeypatch)
  names = {}
  exec(compile(text, 'README.md', 'exec'), names)
  assert 0 <= names['report']['test']['groups'][0]['auc']['value'] <= 1


def test_the_aggregator_of_my_own_follows_the_largest_losses():
  names = {}
  exec(compile(_program(of='GradientAggregator('), 'my_file.py', 'exec'), names)
  aggregator = names['make'](config_lib.AggregatorConfig())
  losses = np.log([1.0, 2.0, 4.0])
  gradients = {'w': jnp.asarray([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])}

  def update(counts, losses):
    info = types.GroupInfo(
      jnp.ones(3), jnp.asarray(counts), jnp.asarray(losses)
    )
    state = aggregator.init(3, gradients)
    return jax.jit(aggregator.update)(gradients, info, state)[0]['w']

  present = update([4.0, 2.0, 0.0], losses)
  np.testing.assert_allclose(present, [1 / 3, 2 / 3], rtol=1e-6)
  losses[2] = np.nan  # of nobody
  np.testing.assert_allclose(update([4.0, 2.0, 0.0], losses), present)
  bad = {'w': gradients['w'].at[1, 0].set(jnp.nan)}
  info = types.GroupInfo(jnp.ones(3), jnp.ones(3), jnp.zeros(3))
  assert not np.isfinite(aggregator.update(bad, info, ())[0]['w']).all()


def test_the_aggregator_of_my_own_trains_by_its_name(tmp_path, monkeypatch):
  program = _program(of='GradientAggregator(')
  (tmp_path / 'my_file.py').write_text(program, encoding='utf-8')
  monkeypatch.chdir(tmp_path)
  assert '--config.aggregator.name=my_file.py:make' in README
  settings = config_lib.Config()
  settings.aggregator.name = 'my_file.py:make'
  _small(monkeypatch)
  report = run_lib.train(settings, 'runs/my_own')
  assert report['protocol']['aggregator'] == 'my_file.py:make'
