"""The page: well formed, complete, self-contained, and as its runs are."""

import functools
import html.parser
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests import finished
from tests.launch import scripts
from tests.report import tables_test
from twotsrec import types
from twotsrec.report import content as content_lib
from twotsrec.report import formats
from twotsrec.report import gains as gains_lib
from twotsrec.report import page
from twotsrec.report import rests_on
from twotsrec.report import tables
from twotsrec.runs import compared_runs
from twotsrec.training import run_directory

pytest.importorskip('matplotlib', reason='matplotlib (plots) is not installed')

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
EVERYWHERE = {
  'results', 'training', 'activity', 'data', 'protocol', 'versions',
  'commands', 'verdict', 'lists',
}  # fmt: skip
OF_TWO = {'differences', 'gains'}
# Elements without an end.
VOID = {'meta', 'br', 'hr', 'img', 'link', 'input'}


class Parsed(html.parser.HTMLParser):
  """Elements of a page, each of which must end where it should."""

  def __init__(self, text: str):
    super().__init__()
    self.open: list[str] = []
    self.sections: list[str] = []
    self.ids: list[str] = []
    self.links: list[str] = []
    self.attributes: list[tuple[str, str]] = []
    self.pictures: list[dict] = []
    self.titles: list[str] = []
    self.scripts = 0
    self.rows: dict[str, list[list[str]]] = {}
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    given = dict(attrs)
    if tag not in VOID:
      self.open.append(tag)
    self.ids += [given['id']] if 'id' in given else []
    self.attributes += [(name, value or '') for name, value in attrs]
    if tag == 'section':
      self.sections.append(given['id'])
      self.rows[given['id']] = []
    elif tag == 'svg':
      self.pictures.append(given)
    elif tag == 'a':
      self.links.append(given['href'])
    elif tag == 'script':
      self.scripts += 1
    elif tag == 'tr' and self.sections:
      self.rows[self.sections[-1]].append([])
    elif tag in ('td', 'th'):
      self.rows[self.sections[-1]][-1].append('')

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in VOID:
      self.handle_endtag(tag)

  def handle_endtag(self, tag):
    assert self.open and self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] in ('td', 'th'):
      self.rows[self.sections[-1]][-1][-1] += data
    elif self.open[-2:] == ['svg', 'title']:
      self.titles.append(data)


def read(**systems: pathlib.Path) -> content_lib.Content:
  named = {name: [str(path)] for name, path in systems.items()}
  return content_lib.read(content_lib.Request(systems=named, resamples=200))


@functools.cache
def made(*names: str) -> str:
  """The page on finished runs."""
  return page.html_page(read(**{name: finished.run(name) for name in names}))


@pytest.mark.parametrize(
  ('names', 'besides'),
  [
    (['base'], {'gradients'}),
    (['base', 'ga', 'ga_pn'], {'gradients', *OF_TWO}),
    (['copf'], {'parts', 'training'}),  # it judges no epoch
    (['2ts', 'one_gru'], {'movement', 'online', 'parts', *OF_TWO}),
  ],
)
def test_a_page_is_whole_and_has_what_its_runs_have(names, besides):
  text = made(*names)
  parsed = Parsed(text)
  assert set(parsed.sections) == EVERYWHERE ^ besides
  assert parsed.links == [f'#{name}' for name in parsed.sections]
  assert len(set(parsed.ids)) == len(parsed.ids)
  # Each picture says what is seen, and no two say the same.
  said = [picture['aria-label'] for picture in parsed.pictures]
  assert said == parsed.titles and len(set(said)) == len(said) >= 4
  assert all(picture['role'] == 'img' for picture in parsed.pictures)
  assert all(len(alt) > 20 for alt in said)
  # Whatever is referred to is in the page, and nothing else is.
  assert parsed.scripts == 0 and '@import' not in text
  for name, value in parsed.attributes:
    if name in ('href', 'src') or name.endswith(':href'):
      assert value.startswith('#') and value[1:] in parsed.ids
    for target in re.findall(r'url\((.*?)\)', value):
      assert target.startswith('#') and target[1:] in parsed.ids
  assert not re.search(r'(?:https?:)?//[a-z]', text)
  # Colors are variables, so that a dark page has its own.
  for name, value in parsed.attributes:
    if name in ('style', 'fill', 'stroke'):
      assert not re.search(r'#[0-9a-f]{6}\b', value), value


def test_what_runs_do_not_have_is_left_out(tmp_path):
  both = tables_test.write_seeds(tmp_path)
  [first, *_], [second, *_] = both.values()
  tables_test.told(first, lists=None, baselines={})
  for systems, sections in (
    ({'a': [first]}, ['results', 'protocol', 'commands']),
    ({'b': [second]}, ['results', 'lists', 'protocol', 'commands']),
    (
      {'a': [first], 'b': [second]},
      ['results', 'differences', 'gains', 'lists', 'protocol', 'commands'],
    ),
  ):
    request = content_lib.Request(systems=systems, resamples=200)
    text = page.html_page(content_lib.read(request))
    assert Parsed(text).sections == sections
    for one in sections:
      assert text.count(f'<section id="{one}">') == 1


def test_seeds_of_a_system_stand_on_a_page(tmp_path):
  made = tables_test.write_seeds(tmp_path)
  request = content_lib.Request(systems=made, resamples=200)
  parsed = Parsed(page.html_page(content_lib.read(request)))
  head, *rows = parsed.rows['results']
  assert all('±' in cell for row in rows for cell in row[2:])
  with pytest.raises(types.UserError, match='unequal numbers of seeds'):
    systems = {'a&b': made['a&b'], 'c_d': made['c_d'][:1]}
    content_lib.read(request._replace(systems=systems))


def test_the_numbers_of_a_page_are_those_of_the_reports():
  runs = {name: finished.run(name) for name in ('base', 'ga')}
  content = read(**runs)
  parsed = Parsed(made(*runs))
  head, *rows = parsed.rows['results']
  groups = content.num_groups
  assert head == ['metric', 'system', *content.results.rows[: groups + 1]]
  metric = ''
  for name, system, *cells in rows:
    metric = name or metric
    if system in runs:
      test = tables_test.report_of(str(runs[system]))['test']
      parts = [part[metric] for part in (*test['groups'], test['overall'])]
      assert cells == [
        '-' if part['value'] is None else f'{part["value"]:.4f}'
        for part in parts
      ]
  named = {row[1] for row in rows}
  assert {'base', 'ga', 'popularity'} <= named
  result = content.compared
  assert result and result['reference'] == 'base'
  expected = formats.lines(tables.differences(result))
  assert parsed.rows['differences'] == expected


def test_who_gains_and_who_loses_is_counted_over_users():
  runs = {name: finished.run(name) for name in ('base', 'ga')}
  [gains] = gains_lib.of_systems(read(**runs)).values()
  both = {
    name: compared_runs.per_target(compared_runs.open_run(str(path)), 'groups')
    for name, path in runs.items()
  }
  for group, users in enumerate(gains.users):
    chosen = both['base']['group'] == group
    change = both['ga']['user_auc'][chosen] - both['base']['user_auc'][chosen]
    change = change[~(change != change)]
    assert users == change.size  # one held-out item each
    assert gains.better[group] == pytest.approx((change > 1e-9).mean())
    assert gains.worse[group] == pytest.approx((change < -1e-9).mean())
    if (change > 1e-9).any():
      assert gains.up[group] == pytest.approx(change[change > 1e-9].mean())


def test_a_base_is_chosen_and_seeds_are_joined():
  first, second = map(str, (finished.run('base'), finished.run('ga')))
  request = content_lib.Request(
    systems={'a': [first], 'b': [f'{second}:popularity'], 'c': [second]},
    base='c',
    resamples=200,
  )
  content = content_lib.read(request)
  assert [*content.systems] == ['c', 'a', 'b'] and content.base == 'c'
  assert [*content.models] == ['c', 'a']
  assert Parsed(page.html_page(content)).sections
  with pytest.raises(types.UserError, match='--base=d is no system; known: a'):
    content_lib.read(request._replace(base='d'))


def test_runs_on_another_footing_are_refused():
  with pytest.raises(types.UserError, match='cannot be compared') as refused:
    read(base=finished.run('base'), copf=finished.run('copf'))
  assert '\n' not in str(refused.value)


def test_without_data_what_rests_on_them_is_left_out(tmp_path):
  run = finished.copy(tmp_path, 'base')
  shutil.rmtree(run_directory.ids_path(run))
  sections = set(Parsed(page.html_page(read(base=run))).sections)
  assert sections == EVERYWHERE - {'activity', 'data'} | {'gradients'}


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
@pytest.mark.parametrize('name', ['base', 'copf', '2ts', 'ga_pn'])
def test_a_command_gives_the_configuration_of_its_run(name):
  run = finished.run(name)
  config = run_directory.typed_config(run)
  python, script, *flags = rests_on.command('W', config)
  assert (python, script) == ('python', 'launch/train.py')
  flags = [
    flag.replace('configs/', f'{scripts.ROOT}/configs/', 1) for flag in flags
  ]
  kept, sys.argv = sys.argv, ['train.py', *flags]
  try:
    sys.path.insert(0, str(scripts.LAUNCH))
    with scripts.forgotten():
      script = scripts.load('train')
      script.cli._parse(sys.argv)
      assert script.run_flags.config(script._RUN) == config
  finally:
    sys.argv = kept
    sys.path.remove(str(scripts.LAUNCH))


# ---- In a browser

MEASURE = """<html><body><iframe id="f" style="width: {width}px; height: 900px"
srcdoc="{page}"></iframe><script>
onload = () => {{
  const it = document.getElementById('f').contentDocument;
  const wide = [...it.querySelectorAll('svg')].map(s => s.clientWidth);
  const at = it.documentElement;
  document.title = [at.scrollWidth, at.clientWidth, Math.min(...wide),
    it.querySelectorAll('svg').length,
    getComputedStyle(it.body).backgroundColor].join(';');
}};
</script></body></html>"""


def measured(text: str, folder: pathlib.Path, width: int, *flags: str) -> list:
  """(width of the content, of the window, of a picture, pictures, color)."""
  wrapper = folder / f'measure{width}.html'
  quoted = html.escape(text)
  wrapper.write_text(MEASURE.format(width=width, page=quoted), 'utf-8')
  done = subprocess.run(
    [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu',
     '--disable-background-networking', f'--user-data-dir={folder}/profile',
     '--virtual-time-budget=4000', *flags, '--dump-dom', wrapper.as_uri()],
    capture_output=True, text=True, timeout=120,
  )  # fmt: skip
  [title] = re.findall(r'<title>([^<]*;rgb[^<]*)</title>', done.stdout)[:1]
  return title.split(';')


@pytest.mark.skipif(CHROMIUM is None, reason='no chromium on this machine')
def test_a_browser_shows_it_on_a_phone_and_in_the_dark(tmp_path):
  text = made('base', 'ga')
  number = len(Parsed(text).pictures)
  phone, wide = (measured(text, tmp_path, width) for width in (390, 1200))
  dark = measured(
    text, tmp_path, 390, '--blink-settings=preferredColorScheme=0'
  )
  for seen in (phone, wide, dark):
    assert int(seen[0]) <= int(seen[1])  # nothing sticks out
    assert int(seen[2]) > 280 and int(seen[3]) == number
  assert phone[4] == 'rgb(253, 253, 254)' and dark[4] == 'rgb(20, 24, 31)'
