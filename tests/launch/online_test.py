import pytest

from tests.launch import scripts
from tests.serving import online_toys


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run') / 'run'
  return online_toys.save_run(online_toys.world(), folder)


def _table(folder, name, rows):
  path = folder / name
  text = '\n'.join(['who;what;when', *rows, ''])
  path.write_text(text, encoding='utf-8')
  return f'--events={path}'


def test_tables_are_played_one_after_the_other(capsys, tmp_path, workdir):
  states, top = tmp_path / 'states.npz', tmp_path / 'top.jsonl'
  fixed = [
    f'--workdir={workdir}',
    '--user_column=who',
    '--item_column=what',
    '--time_column=when',
    '--delimiter=;',
    f'--out_states={states}',
    '--quiet',
  ]
  events = _table(tmp_path, '1.csv', ['102;1003;500', '99;1001;4', '99;7;8'])
  ended = scripts.run(capsys, 'online', *fixed, events, f'--out={top}', '--k=2')
  assert ended == (
    0,
    '3 events of 2 users, 1 of them new; 1 event with an item the model does'
    f' not know was skipped; 4 rows for 2 users in {top}; states of 2 users in'
    f' {states}\n',
    '',
  )
  assert top.read_text(encoding='utf-8').count('"user_id": 99') == 2
  events = _table(tmp_path, '2.csv', ['102;1004;500'])
  ended = scripts.run(capsys, 'online', *fixed, events, f'--states={states}')
  assert ended.code == 0 and ended.out == (
    f'1 event of 1 user, 0 of them new; states of 2 users in {states}\n'
  )


def test_wrong_input_is_one_line_and_no_file(capsys, tmp_path, workdir):
  folder = tmp_path / 'out'
  folder.mkdir()
  table = tmp_path / 'e.csv'
  table.write_text('user_id,item_id,timestamp\n9,1001,5\n9,1001,4\n')
  given = [f'--workdir={workdir}', f'--events={table}']
  out = f'--out_states={folder / "states.npz"}'
  for flags, message in (
    ([], '--out_states is missing'),
    ([out, '--events='], '--events is missing'),
    ([out, '--events=', '--late=drop'], '--late: nothing reads it without'),
    ([out, '--events=', '--keep_events=9'], '--keep_events: nothing reads it'),
    ([out, '--events=', '--event_column=n'], '--event_column: nothing reads'),
    ([out, '--events=', '--time_unit=ms'], '--time_unit: nothing reads it'),
    ([out, '--k=3'], '--k: nothing reads it without --out=FILE'),
    ([out, '--split_column=x'], '--split_column: nothing reads it'),
    ([out, '--k=0'], 'not a positive integer'),
    ([out, f'--out={folder / "top.txt"}'], 'must end in .csv'),
    ([out, '--events=none.csv'], 'none.csv'),
    ([out, f'--states={table}'], f'{table} holds no states'),
    ([out, '--states=none.npz'], 'cannot read none.npz'),
    ([out, f'--workdir={folder}'], 'not a run directory'),
    ([out], "line 3: user '9' goes back in time, from 5 to 4"),
  ):
    ended = scripts.run(capsys, 'online', *given, *flags, '--quiet')
    scripts.assert_refused(ended, message)
    assert not list(folder.iterdir())
