import pytest

from tests.studies import papers
from twotsrec import types
from twotsrec.studies import study as study_lib

TWO_TIME = papers.load('two_time_scale')


def _ask(name='pin', **given):
  return study_lib.ask(papers.load(name), given, 'OUT')


def test_names_and_seeds_are_read_in_order_and_once():
  made = _ask(
    table=('3', '2', '3'), models=('din', 'din'), seeds=['2', 0, '02']
  )
  assert made.tables == ('3', '2') and made.axes['models'] == ('din',)
  assert made.seeds == (2, 0) and made.numbers['epochs'] == 8
  assert made.out == 'OUT'


def test_a_missing_flag_takes_its_default():
  made, study = _ask(), papers.load('pin')
  assert made.tables == tuple(study.tables) and made.systems == study.systems
  assert made.axes == {
    'datasets': ('ml-1m',), 'models': study.axes['models'].values
  }  # fmt: skip
  assert made.seeds == (0, 1, 2)


def test_without_tables_and_figures_both_are_all_there_is():
  every = _ask('two_time_scale', table=[], figure=[])
  assert every.tables == tuple(TWO_TIME.tables)
  assert every == _ask('two_time_scale')
  one = _ask('two_time_scale', figure=('theory', 'theory'), table=())
  assert one.tables == ('theory',)


def test_systems_by_default_are_those_of_the_study():
  assert _ask('two_time_scale').systems == TWO_TIME.asked
  made = _ask('two_time_scale', systems=('ccf', 'ccf'))
  assert made.systems == ('ccf',)


def test_every_choice_lists_what_there_is_in_its_help():
  for name in papers.NAMES:
    for flag, choice in study_lib.choices(papers.load(name)).items():
      assert choice.values and {*choice.default} <= {*choice.values}
      assert choice.help, flag
  flags = study_lib.choices(TWO_TIME)
  assert [*flags] == ['table', 'figure', 'datasets', 'splits', 'systems']
  assert flags['table'].default == flags['figure'].default == ()


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'table': ('5',)}, "--table: unknown '5'; known: 1, 2, 3, 4, fig4, tau"),
    ({'table': ()}, '--table is empty; known: 1'),
    ({'datasets': ('ml-2m',)}, "--datasets: unknown 'ml-2m'; known: ml-1m"),
    ({'datasets': ()}, '--datasets is empty'),
    ({'models': ()}, '--models is empty'),
    ({'seeds': ('0', '')}, "--seeds: '' is not a whole number"),
    ({'seeds': ('-1',)}, "--seeds: '-1' is not a whole number"),
    ({'seeds': ()}, '--seeds is empty; write 0,1,2'),
  ],
  ids=str,
)
def test_wrong_requests_are_one_line(given, message):
  with pytest.raises(types.UserError) as error:
    _ask(**given)
  assert message in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'figure': ('2',)}, "--figure: unknown '2'; known: theory, 3, 4, 5"),
    ({'systems': ()}, '--systems is empty; known: 2ts, ccf'),
  ],
  ids=str,
)
def test_every_flag_of_tables_is_checked(given, message):
  with pytest.raises(types.UserError, match=message):
    _ask('two_time_scale', **given)


def test_systems_that_no_table_has_are_refused():
  message = 'no --table=4,2 has any of --variants=wo_con,mmoe'
  with pytest.raises(types.UserError, match=message):
    _ask('copf', variants=('wo_con', 'mmoe'), table=('4', '2'))
