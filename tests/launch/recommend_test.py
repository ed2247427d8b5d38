from tests import finished
from tests import small_runs as runs
from tests.launch import scripts
from twotsrec.runs import experiment


def _recommend(capsys, *flags):
  workdir = f'--workdir={finished.run()}'
  return scripts.run(capsys, 'recommend', workdir, '--quiet', *flags)


def test_all_users_get_k_items(capsys, tmp_path):
  out = tmp_path / 'top.csv'
  ended = _recommend(capsys, '--k=2', f'--out={out}')
  assert ended == (0, f'50 rows for 25 users in {out}\n', '')
  lines = out.read_text(encoding='utf-8').splitlines()
  assert lines[0] == 'user_id,item_id,rank,score' and len(lines) == 51


def test_a_history_is_read_with_its_own_columns(capsys, tmp_path):
  table, out = tmp_path / 'new.csv', tmp_path / 'top.jsonl'
  items = experiment.load_data(runs.config()).item_ids
  text = f'who;what\nann;{items[0]}\nann;{items[3]}\n'
  table.write_text(text, encoding='utf-8')
  ended = _recommend(
    capsys,
    f'--history={table}',
    '--user_column=who',
    '--item_column=what',
    '--delimiter=;',
    '--k=3',
    f'--out={out}',
  )
  assert ended.code == 0, ended.err
  assert out.read_text(encoding='utf-8').count('"user_id": "ann"') == 3


def test_wrong_input_is_two_lines_and_no_file(capsys, tmp_path):
  out = f'--out={tmp_path / "top.csv"}'
  for flags, message in (
    ([], '--out is missing'),
    ([out, '--k=0'], 'k'),
    (
      [out, '--time_column=ts', '--users=none.txt'],
      '--time_column: nothing reads it without --history',
    ),
    (
      [out, '--similar_to=7', '--exclude_seen'],
      '--exclude_seen: nothing reads it with --similar_to',
    ),
    (
      [out, '--unknown_users=skip'],
      '--unknown_users: nothing reads it without --users',
    ),
    (
      [out, '--user_column=u', '--delimiter=;'],
      '--delimiter, --user_column: nothing reads them',
    ),
    (
      [out, '--history=none.csv', '--split_column=part'],
      '--split_column: nothing reads it in a history',
    ),
    ([out, '--users=none.txt'], 'cannot read none.txt'),
    ([out, '--history=none.csv'], 'none.csv'),
    ([f'--out={tmp_path / "top.txt"}'], 'must end in .csv'),
    ([out, f'--workdir={tmp_path}'], 'not a run directory'),
    ([out, '--routing=magic'], 'frozen|dynamic|soft'),
    ([out, '--routing=soft'], 'no model here has plugins'),
  ):
    ended = _recommend(capsys, *flags)
    scripts.assert_refused(ended, message, lines=2)
    assert not list(tmp_path.iterdir())
